import hashlib
import json
from pathlib import Path

import pytest
from builds import git

from commands.builds.differences import DepState, Difference, param_differences
from commands.builds.lock import File
from commands.planning import reasons as _reasons
from commands.planning.reasons import commit_with, difference_lines, reason_lines


@pytest.fixture
def history(tmp_path, monkeypatch):
    """A repository whose second commit edits a module and a folder of data."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-qb", "main")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/other.jsonl").write_text("{}\n", encoding="utf-8")
    for number in (1, 2):
        (tmp_path / "curate.py").write_text("a = 1\n" * number, encoding="utf-8")
        (tmp_path / "raw/chat.jsonl").write_text("{}\n" * number, encoding="utf-8")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", str(number))
    _reasons.commit_with.cache_clear()
    return tmp_path


def md5(data):
    return hashlib.md5(data).hexdigest()


def changed(path, old, size=1, there=True, foreseen=""):
    now = DepState("11", Path(path).stat().st_size if Path(path).is_file() else 0, origin=foreseen) if there else None
    return difference_lines(Difference("dep", path, old=old and File(path, old, size), new=now))


def test_a_module_is_told_by_its_changed_lines_since_the_version_that_was_built_from(history):
    assert changed("curate.py", md5(b"a = 1\n")) == ["curate.py: 1 line since the last build"]
    (history / "curate.py").write_text("b = 2\n", encoding="utf-8")
    assert changed("curate.py", md5(b"a = 1\na = 1\n")) == ["curate.py: 3 lines since the last build"]


def test_a_folder_is_told_file_by_file_by_the_hash_that_dvc_gives_it(history):
    files = [("chat.jsonl", b"{}\n"), ("other.jsonl", b"{}\n")]
    listing = json.dumps([{"md5": md5(data), "relpath": name} for name, data in files], sort_keys=True)
    (history / "raw/more.jsonl").write_text("{}\n", encoding="utf-8")
    assert changed("raw", md5(listing.encode()) + ".dir") == [
        "raw/chat.jsonl: 1 line since the last build",
        "raw/more.jsonl: a new file",
    ]


def test_what_git_never_had_is_told_by_its_size(history):
    assert commit_with("curate.py", "00", 1) is None
    assert changed("curate.py", "00", size=1000) == ["curate.py: 1,000 -> 12 bytes since the last build"]
    assert changed("curate.py", "00", size=12) == ["curate.py: changed since the last build"]


def test_without_git_files_are_still_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    _reasons.commit_with.cache_clear()
    (tmp_path / "curate.py").write_text("a\n", encoding="utf-8")
    assert changed("curate.py", "00", size=9) == ["curate.py: 9 -> 2 bytes since the last build"]


def test_a_file_that_is_new_gone_or_foreseen_is_told_so():
    assert changed("x.json", None) == ["x.json: a new input"]
    assert changed("x.json", "00", there=False) == ["x.json is not there"]
    assert changed("x.json", "00", foreseen="seed: 7 -> 8") == ["x.json: seed: 7 -> 8"]


def test_parameters_are_told_once_though_methods_has_them_too():
    old = {"methods": {"dpo": {"beta": 0.1}}, "steps": {"align": {"beta": 0.1}}}
    new = {"methods": {"dpo": {"beta": 0.2}}, "steps": {"align": {"beta": 0.2}}}
    assert reason_lines(param_differences("params.yaml", old, new)) == ["steps.align.beta: 0.1 -> 0.2"]
    said = reason_lines(
        [*param_differences("params.yaml", old, new | {"steps": old["steps"]}), Difference("cmd", old="a", new="b")]
    )
    assert said == ["methods.dpo.beta: 0.1 -> 0.2", "command: a -> b"]


def test_conditions_name_every_input_that_is_not_known_yet():
    assert difference_lines(Difference("unknown", new=["a"])) == ["if a comes out different"]
    assert difference_lines(Difference("unknown", new=["a", "b", "c"])) == ["if a, b or c come out different"]


def test_commands_and_outputs_are_told():
    assert difference_lines(Difference("cmd", old="python -m x", new="accelerate launch -m x")) == [
        "command: python -m x -> accelerate launch -m x"
    ]
    assert difference_lines(Difference("output", "models/sft", new="modified")) == ["models/sft is not what was built"]
