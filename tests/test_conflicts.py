"""Marks of a merge in files that builds read: named, with what to type, and never settled by taking one side."""

import subprocess

import pytest

from commands import check
from commands.builds.lock import read_lock
from commands.builds.repairs import repair
from validators.conflicts import conflict_problems
from validators.params import read_params_yaml
from validators.problems import Problems

OURS, THEIRS = "schema: '2.0'\nstages: {}\n", "schema: '2.0'\nstages:\n  a: {cmd: b}\n"
MARKED = "schema: '2.0'\n<<<<<<< HEAD\nstages: {}\n=======\nstages:\n  a: {cmd: b}\n>>>>>>> other\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(*arguments, check=True):
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    subprocess.run(["git", *identity, *arguments], check=check, capture_output=True)


def merge(name, start, ours, theirs):
    """A repository in the midst of a merge that git could not do."""
    git("init", "-q", "-b", "main")
    for branch, text in (("main", start), ("other", theirs), ("main", ours)):
        git("checkout", "-q", *(["-b"] if branch == "other" else []), branch, check=False)
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        git("add", name)
        git("commit", "-qm", branch)
    git("merge", "other", check=False)


def test_the_lock_of_an_unfinished_merge_is_named_and_left_as_it_is(root):
    merge("dvc.lock", "schema: '2.0'\n", OURS, THEIRS)
    before = (root / "dvc.lock").read_text()
    assert "<<<<<<< HEAD" in before
    assert repair(root) == []
    with pytest.raises(Problems) as raised:
        check.main()
    (problem,) = raised.value.problems
    assert problem.where == "dvc.lock:2"
    assert problem.found == "marks of a merge that is not finished (<<<<<<< HEAD)"
    assert problem.hint.startswith("git checkout --ours dvc.lock && git add dvc.lock")
    assert (root / "dvc.lock").read_text() == before


def test_what_the_hint_says_ends_the_conflict(root):
    merge("dvc.lock", "schema: '2.0'\n", OURS, THEIRS)
    (problem,) = conflict_problems("dvc.lock")
    command = problem.hint.partition(",")[0]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert (root / "dvc.lock").read_text() == OURS
    assert conflict_problems("dvc.lock") == []


def test_marks_that_were_committed_have_no_sides_to_check_out(root):
    (root / "dvc.lock").write_text(MARKED)
    (problem,) = conflict_problems("dvc.lock")
    assert problem.hint.startswith("git checkout COMMIT -- dvc.lock")
    with pytest.raises(Problems, match="marks of a merge"):
        read_lock(None)


def test_params_with_marks_are_no_puzzle_of_yaml(root):
    (root / "params.yaml").write_text("seed: 7\n<<<<<<< HEAD\nlaunch: a\n=======\nlaunch: b\n>>>>>>> other\n")
    with pytest.raises(Problems, match=r"params\.yaml:2: marks of a merge.*\n  hint: in each part keep one version"):
        read_params_yaml()


def test_both_files_are_named_at_once(root):
    for name in ("params.yaml", "dvc.lock"):
        (root / name).write_text(MARKED)
    with pytest.raises(Problems) as raised:
        check.main()
    assert [problem.where for problem in raised.value.problems] == ["params.yaml:2", "dvc.lock:2"]


@pytest.mark.parametrize("text", ["a: 1 # <<<<<<< HEAD\n", "a: '<<<<<<<<<'\n", "<<<<<<<<\n", ""])
def test_other_signs_are_no_marks(root, text):
    (root / "params.yaml").write_text(text)
    assert conflict_problems("params.yaml", "missing.yaml") == []
