"""Data of .dvc files against what git has of them: real git, and .dvc files as DVC writes them."""

import pytest
from builds import git

from stages.reading.unaccepted_changes import dvc_files, unaccepted_problems


def keep(path, md5):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"outs:\n- md5: {md5}\n  path: {path.stem}\n", encoding="utf-8")


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A repository in which DVC keeps one file of a folder, and another folder as a whole."""
    monkeypatch.chdir(tmp_path)
    keep(tmp_path / "data/raw/some/large one.jsonl.dvc", "11")
    keep(tmp_path / "data/raw/all.dvc", "22.dir")
    git(".", "init", "-q")
    git(".", "add", "-A")
    git(".", "commit", "-qm", "raw data")
    return tmp_path / "data/raw"


def names(path):
    return [problem.where for problem in unaccepted_problems(path)]


def test_dvc_files_are_found_beside_in_and_around_a_path(raw):
    some, whole = "data/raw/some/large one.jsonl.dvc", "data/raw/all.dvc"
    found = {
        path: [file.as_posix() for file in dvc_files(path)] for path in ("data/raw/some", "data/raw/all/a", "data")
    }
    assert found == {"data/raw/some": [some], "data/raw/all/a": [whole], "data": [whole, some]}
    assert dvc_files("data/raw/some/large one.jsonl") and not dvc_files("data/raw/none")


def test_what_is_as_git_has_it_is_right(raw):
    assert names("data/raw") == []


def test_a_rewritten_file_is_named_until_git_has_it(raw):
    keep(raw / "some/large one.jsonl.dvc", "33")
    assert names("data/raw/some") == ["data/raw/some/large one.jsonl.dvc"]
    assert "git add 'data/raw/some/large one.jsonl.dvc'" in unaccepted_problems("data/raw/some")[0].hint
    assert names("data/raw/all/a") == []
    git(".", "add", "-A")
    assert names("data/raw/some") == []


def test_one_that_is_new_to_git_is_right(raw):
    keep(raw / "new.jsonl.dvc", "44")
    assert names("data/raw/new.jsonl") == []


def test_a_folder_below_the_root_of_git_has_names_of_its_own(raw, monkeypatch):
    monkeypatch.chdir(raw)
    keep(raw / "all.dvc", "55.dir")
    assert names("all") == ["all.dvc"]


def test_without_git_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    keep(tmp_path / "a.jsonl.dvc", "11")
    assert names("a.jsonl") == []
