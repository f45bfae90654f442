import pytest
from builds import write_yaml

from commands.builds.lock import File, lock_of, parsed, run_of, runs, stage_of
from stages.reading.links import cache_folder

ENTRY = {
    "cmd": "python -m stages curate chat",
    "deps": [{"path": "data/./ingested//chat", "hash": "md5", "md5": "aa.dir", "size": 5, "nfiles": 2}],
    "params": {"params.yaml": {"seed": 7, "datasets.chat": {"kind": "sft"}}, "more.json": {"x": 1}},
    "outs": [{"path": "data/train/chat.parquet", "hash": "md5", "md5": "bb", "size": 3}],
}


def test_an_entry_of_the_lock_is_a_stage():
    stage = stage_of("curate@chat", ENTRY)
    assert (stage.kind, stage.subject, stage.name, stage.cmd) == ("curate", "chat", "curate@chat", ENTRY["cmd"])
    assert stage.deps == {"data/ingested/chat": File("data/ingested/chat", "aa.dir", 5, 2, "md5")}
    assert stage.outs["data/train/chat.parquet"].stage == "curate@chat"


def test_a_stage_without_a_subject_and_without_anything_is_one_too():
    stage = stage_of("collect", {})
    assert (stage.kind, stage.subject, stage.name) == ("collect", None, "collect")
    assert stage.deps == stage.outs == stage.params == {}


def test_a_stage_is_written_as_dvc_has_it():
    assert stage_of("curate@chat", ENTRY | {"deps": []}).entry() == ENTRY | {"deps": []}


def test_a_hash_of_digits_alone_is_a_text():
    assert stage_of("x", {"outs": [{"path": "a", "md5": 12}]}).outs["a"].md5 == "12"


@pytest.mark.parametrize(
    ("cmd", "name"),
    [
        ("python -m stages train sft", "train@sft"),
        ("accelerate launch --config_file x.yaml -m stages train sft", "train@sft"),
        ("python -m stages collect", "collect"),
        ("echo", ""),
        (["a", "b"], ""),
        (None, ""),
    ],
)
def test_the_stage_of_a_run_is_told_by_its_command(cmd, name):
    assert run_of(cmd) == name


def test_what_is_no_record_of_the_run_cache_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache_folder.cache_clear()
    folder = tmp_path / ".dvc/cache/runs/aa/aabb"
    folder.mkdir(parents=True)
    write_yaml(folder / "1", ENTRY)
    (folder / "2").write_text("cmd: [", encoding="utf-8")
    (folder / "3").write_bytes(b"\xff\xfe")
    (folder / "4").write_text("outs: [none]", encoding="utf-8")
    (folder / "5").touch()
    assert [run.name for run in runs()] == ["curate@chat"]
    assert list(runs(0)) == []


def test_a_text_that_is_no_yaml_is_a_value_error():
    with pytest.raises(ValueError):
        parsed("a: [")


def test_the_lock_of_the_working_tree_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_yaml("dvc.lock", {"schema": "2.0", "stages": {"curate@chat": ENTRY}})
    assert lock_of(None) == {"curate@chat": stage_of("curate@chat", ENTRY)}
