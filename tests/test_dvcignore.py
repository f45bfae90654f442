"""No raw file is read that DVC does not see."""

from pathlib import Path

import pytest

from stages.reading.dvcignore import ignored_files
from stages.reading.files import raw_files
from validators.problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (
        "data/raw/chat/a.jsonl",
        "data/raw/chat/b.partial",
        "data/raw/chat/old/c.jsonl",
        "data/raw/one.partial",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}\n")
    return tmp_path


def test_without_rules_every_file_is_seen(project):
    assert ignored_files(sorted(Path("data/raw").rglob("*.*"))) == []
    assert len(raw_files("data/raw/chat")) == 3


def test_a_file_that_dvc_does_not_see_is_a_problem_and_is_not_read(project):
    (project / ".dvcignore").write_text(".work\n*.partial\n")
    with pytest.raises(Problems) as error:
        raw_files("data/raw/chat")
    (problem,) = error.value.problems
    assert problem.where == "data/raw/chat/b.partial" and ".dvcignore" in problem.hint
    with pytest.raises(Problems, match=r"one\.partial"):
        raw_files("data/raw/one.partial")


def test_rules_of_folders_and_exceptions_are_dvcs(project):
    (project / ".dvcignore").write_text("*.partial\n!b.partial\n")
    (project / "data/raw/chat/.dvcignore").write_text("/old\n")
    paths = [Path(path) for path in ("data/raw/chat/a.jsonl", "data/raw/chat/b.partial", "data/raw/chat/old/c.jsonl")]
    assert ignored_files(paths) == [Path("data/raw/chat/old/c.jsonl")]
