import json

import pytest
from builds import git, put_object, write_yaml
from ruamel.yaml import YAML

from commands.builds import build as _build
from commands.builds.build import chain, file_of, files_of, find_tables, models_trained_on, read_build
from commands.builds.git import Missing
from commands.builds.lock import parse_yaml
from validators.problems import Problems

PARAMS = {
    "datasets": {"chat": {"kind": "sft"}, "pairs": {"kind": "preference"}},
    "steps": {
        "sft": {"from": "base", "dataset": "chat"},
        "align": {"from": "sft", "dataset": "pairs"},
        "alone": {"from": "base", "dataset": "pairs"},
    },
}
MODEL = {"config.json": "11aa", "adapters/00_sft/adapter_config.json": "22bb"}


def save(folder, train_md5):
    """params.yaml, a lock, and the cache of a build with one dataset and one model."""
    outs = [{"path": "data/train/chat.parquet", "hash": "md5", "md5": train_md5, "size": 4}]
    model = [{"path": "models/sft", "hash": "md5", "md5": "77ff.dir", "size": 9, "nfiles": 2}]
    lock = {"schema": "2.0", "stages": {"curate@chat": {"outs": outs}, "train@sft": {"outs": model}}}
    for name, data in (("params.yaml", PARAMS), ("dvc.lock", lock)):
        write_yaml(folder / name, data)
    listing = [{"relpath": path, "md5": md5} for path, md5 in MODEL.items()]
    texts = {train_md5: f"rows {train_md5}", "11aa": "{}", "22bb": "{}", "77ff.dir": json.dumps(listing)}
    for md5, text in texts.items():
        put_object(folder, text.encode(), md5)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository of two commits, whose train rows differ."""
    monkeypatch.chdir(tmp_path)
    _build.cache_folder.cache_clear()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    git(tmp_path, "init", "-qb", "main")
    for md5 in ("aaaa", "bbbb"):
        save(tmp_path, md5)
        git(tmp_path, "add", "params.yaml", "dvc.lock")
        git(tmp_path, "commit", "-qm", md5)
    git(tmp_path, "tag", "v1", "HEAD~1")
    yield tmp_path
    _build.cache_folder.cache_clear()


def test_a_past_build_is_read_from_git_and_the_cache(project):
    assert file_of(read_build("v1"), "data/train/chat.parquet").read_text(encoding="utf-8") == "rows aaaa"
    assert file_of(read_build("main"), "data/train/chat.parquet").read_text(encoding="utf-8") == "rows bbbb"


def test_the_working_tree_wins_over_the_cache_and_the_cache_stands_in_for_it(project):
    assert file_of(read_build(), "data/train/chat.parquet").read_text(encoding="utf-8") == "rows bbbb"
    (project / "data/train").mkdir(parents=True)
    (project / "data/train/chat.parquet").write_text("edited", encoding="utf-8")
    assert file_of(read_build(), "data/train/chat.parquet").read_text(encoding="utf-8") == "edited"


def test_a_file_inside_a_folder_is_found_by_the_list_of_the_cache(project):
    build = read_build("main")
    assert files_of(build, "models/sft") == {f"models/sft/{path}": md5 for path, md5 in MODEL.items()}
    assert file_of(build, "models/sft/config.json").read_text(encoding="utf-8") == "{}"


def test_a_file_outside_what_was_built_is_missing(project):
    with pytest.raises(Missing, match="no stage of"):
        file_of(read_build("main"), "data/train/chat.parquet.other")


def test_bytes_that_the_cache_lost_are_named_and_the_rest_is_there(project):
    (project / ".dvc/cache/files/md5/aa/aa").unlink()
    with pytest.raises(Missing, match=r"data/train/chat.parquet: its bytes are not in the DVC cache"):
        file_of(read_build("v1"), "data/train/chat.parquet")
    found, problems = find_tables(read_build("main"), "train")
    assert list(found) == [("train", "chat")]
    assert [problem.where[11:] for problem in problems] == ["data/train/pairs.parquet"]


@pytest.mark.slow
def test_a_cache_that_the_configuration_puts_elsewhere_is_the_one_that_is_read(project):
    (project / ".dvc/cache").rename(project / "elsewhere")
    with pytest.raises(Missing):
        file_of(read_build("v1"), "data/train/chat.parquet")
    _build.cache_folder.cache_clear()
    (project / ".dvc/config").write_text("[cache]\n    dir = ../elsewhere\n", encoding="utf-8")
    assert file_of(read_build("v1"), "data/train/chat.parquet").read_text(encoding="utf-8") == "rows aaaa"


def test_an_unknown_revision_gets_the_nearest_name(project):
    with pytest.raises(Problems, match="did you mean 'main'"):
        read_build("mian")


def test_a_revision_that_looks_like_an_option_is_a_revision(project):
    with pytest.raises(Problems, match="no revision"):
        read_build("--all")


def test_a_shallow_clone_says_so(project, tmp_path_factory, monkeypatch):
    clone = tmp_path_factory.mktemp("shallow") / "clone"
    git(project, "clone", "-q", "--depth", "1", f"file://{project}", str(clone))
    monkeypatch.chdir(clone)
    with pytest.raises(Problems, match="unshallow"):
        read_build("v1")


def test_without_git_the_working_tree_is_still_answered_for(project, monkeypatch):
    (project / ".git").rename(project / "git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert list(read_build().stages) == ["curate@chat", "train@sft"]
    with pytest.raises(Problems, match="not in a git repository"):
        read_build("main")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: [", "does not parse"),
        ("a: 1", "has no `stages`"),
        ("", "has no `stages`"),
        ("stages: {base: none}", "base: is no stage"),
        ("stages: {base: {outs: [models/base]}}", "base: is no stage"),
    ],
)
def test_a_broken_lock_is_an_error_that_says_what_still_works(project, text, said):
    (project / "dvc.lock").write_text(text, encoding="utf-8")
    with pytest.raises(Problems, match=f"{said}(.|\n)*tilth ledger"):
        read_build()


def test_no_lock_means_that_nothing_was_built(project):
    (project / "dvc.lock").unlink()
    with pytest.raises(Problems, match="nothing was built"):
        read_build()


def test_a_chain_goes_from_the_first_step_to_the_model(project):
    assert chain(read_build(), "align") == ["sft", "align"]
    assert chain(read_build(), "base") == []


def test_a_dataset_was_seen_by_every_model_behind_the_step_that_trained_on_it(project):
    assert set(models_trained_on(read_build(), "chat")) == {"sft", "align"}
    assert set(models_trained_on(read_build(), "pairs")) == {"align", "alone"}


@pytest.mark.parametrize(
    "text", ["3e-05", "1e-4", "1.5", "7", "-3", "true", "yes", "off", "1:30", "null", "~", "", ".inf", "'1'"]
)
def test_scalars_of_the_lock_are_those_of_yaml_1_2(text):
    line = f"value: {text}"
    ours = parse_yaml(line)["value"]
    dvcs = YAML(typ="safe", pure=True).load(line)["value"]
    assert (ours, type(ours)) == (dvcs, type(dvcs))


def test_params_that_are_not_yaml_are_an_error(project):
    (project / "params.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(Problems, match="is not YAML"):
        read_build()
