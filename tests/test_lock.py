import pytest
from builds import write_yaml

from commands import prune
from commands.builds.build import Build
from commands.builds.differences import state_in_outputs
from commands.builds.evidence import Evidence
from commands.builds.lock import File, Stage, cached_runs, parse_stage, parse_yaml, read_lock, stage_name_of
from commands.checks import lock
from stages.core.dvc_cache import cache_folder
from stages.core.hashes import folder_md5

ENTRY = {
    "cmd": "python -m stages curate chat",
    "deps": [{"path": "data/./ingested//chat", "hash": "md5", "md5": "aa.dir", "size": 5, "nfiles": 2}],
    "params": {"params.yaml": {"seed": 7, "datasets.chat": {"kind": "sft"}}, "more.json": {"x": 1}},
    "outs": [{"path": "data/train/chat.parquet", "hash": "md5", "md5": "bb", "size": 3}],
}


def test_an_entry_of_the_lock_is_a_stage():
    stage = parse_stage("curate@chat", ENTRY)
    assert (stage.kind, stage.subject, stage.name, stage.cmd) == ("curate", "chat", "curate@chat", ENTRY["cmd"])
    assert stage.deps == {"data/ingested/chat": File("data/ingested/chat", "aa.dir", 5, 2, "md5")}
    assert stage.outs["data/train/chat.parquet"].stage == "curate@chat"


def test_a_stage_without_a_subject_and_without_anything_is_one_too():
    stage = parse_stage("collect", {})
    assert (stage.kind, stage.subject, stage.name) == ("collect", None, "collect")
    assert stage.deps == stage.outs == stage.params == {}


def test_a_stage_is_written_as_dvc_has_it():
    assert parse_stage("curate@chat", ENTRY | {"deps": []}).entry() == ENTRY | {"deps": []}


def test_a_hash_of_digits_alone_is_a_text():
    assert parse_stage("x", {"outs": [{"path": "a", "md5": 12}]}).outs["a"].md5 == "12"


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
    assert stage_name_of(cmd) == name


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
    assert [run.name for run in cached_runs()] == ["curate@chat"]
    assert list(cached_runs(0)) == []


def test_a_text_that_is_no_yaml_is_a_value_error():
    with pytest.raises(ValueError):
        parse_yaml("a: [")


def test_the_lock_of_the_working_tree_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_yaml("dvc.lock", {"schema": "2.0", "stages": {"curate@chat": ENTRY}})
    assert read_lock(None) == {"curate@chat": parse_stage("curate@chat", ENTRY)}


# -- what is left of a dataset or step that params.yaml no longer has ---------------------------------------------------

PARAMS = {"datasets": {"chat": {}}, "steps": {"sft": {}}}


def made_by(kind, subject, *outs):
    name = f"{kind}@{subject}"
    made = {path: File(path, "0" * 32, stage=name) for path in outs}
    return name, Stage(kind, subject, f"python -m stages {kind} {subject}", {}, made, {})


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """A build of two datasets and two steps, of which params.yaml has one each; nothing of them is on disk."""
    monkeypatch.chdir(tmp_path)
    stages = dict(
        [
            made_by("ingest", "chat", "data/ingested/chat"),
            made_by("ingest", "old", "data/ingested/old"),
            made_by("curate", "old", "data/train/old.parquet", "data/eval/old.parquet"),
            made_by("train", "gone", "models/gone", "scores/gone.csv"),
        ]
    )
    build = Build(None, PARAMS, stages)
    found = Evidence(build, {out: [] for out in build.outs}, {}, {}, [], [], None, 0)
    kept = {
        "cmd": stages["ingest@chat"].cmd,
        "deps": set(),
        "params": {},
        "outs": {"data/ingested/chat"},
        "uncached": set(),
    }
    found.__dict__["graph"] = {"ingest@chat": kept}
    return found


def test_what_is_left_of_a_dataset_or_step_is_one_break_each_and_prune_is_its_hint(evidence):
    problems = lock.lock(evidence)[1]
    assert [problem.where for problem in problems] == ["dvc.lock: old", "dvc.lock: gone"]
    assert "ingest@old, curate@old: dvc.yaml and params.yaml no longer ask for them" in problems[0].found
    assert all(problem.hint.startswith("tilth prune") for problem in problems)


def test_outputs_of_what_is_no_more_are_not_missed(evidence):
    assert [problem.where for problem in lock.outputs(evidence)[1]] == ["data/ingested/chat"]
    assert not [problem for problem in lock.cached(evidence)[1] if "old" in problem.where or "gone" in problem.where]


def test_a_folder_that_no_stage_clears_still_holds_what_is_left(evidence):
    def files(out):
        return {out: "1" * 32}

    assert state_in_outputs(evidence.build, "models", files).md5 == folder_md5({"gone": "0" * 32})
    # `pin` and `collect` have deleted what is left in these
    assert state_in_outputs(evidence.build, "data/ingested", files).md5 == folder_md5({"chat": "0" * 32})
    assert state_in_outputs(evidence.build, "data/train", files).md5 == folder_md5({})


def test_the_days_of_a_dataset_that_expires_no_more_can_be_pruned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prune, "is_tracked", lambda path: True)
    assert prune.reason_to_keep(File(".build/expired/old.json", "0" * 32)) == ""
    assert prune.reason_to_keep(File("models/gone", "0" * 32)) == "git keeps it"
