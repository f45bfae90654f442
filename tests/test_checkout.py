"""Raw data of .dvc files between two people: a file and a folder that were added, and an import whose source is gone."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from test_share import Folder

from commands._checkout import put
from validators._problems import Problems

pytestmark = pytest.mark.slow
GRAPH = """
stages:
  ingest:
    cmd: mkdir -p rows && cat raw/a.jsonl raw/more/*.jsonl raw/far.jsonl > rows/all.jsonl
    deps: [raw/a.jsonl, raw/more, raw/far.jsonl]
    outs: [rows/all.jsonl]
"""
FIRST = {"a.jsonl": "a 1\n", "more/b.jsonl": "b 1\n", "more/c.jsonl": "c 1\n"}


def write(project, files):
    for name, text in files.items():
        path = project.path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a link to the cache
        path.write_text(text, encoding="utf-8")
    project.run("dvc", "add", "raw/a.jsonl", "raw/more")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "project/raw").mkdir(parents=True)
    (folder / "far.jsonl").write_text("far\n", encoding="utf-8")
    made = Folder(folder / "project")
    (made.path / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    made.run("git", "init", "-q")
    made.run("dvc", "init", "-q")
    made.run("dvc", "remote", "add", "--default", "team", "../remote")
    made.run("dvc", "import-url", str(folder / "far.jsonl"), "raw/far.jsonl")
    write(made, FIRST)
    assert made.repro() == ["ingest"]
    made.commit()
    made.tilth("share")
    (folder / "far.jsonl").unlink()
    return made


@pytest.fixture
def yours(once, tmp_path):
    for name in ("project", "remote"):
        shutil.copytree(once.path.parent / name, tmp_path / name, symlinks=True)
    return Folder(tmp_path / "project").clone(tmp_path / "yours")


def test_a_colleague_fetches_raw_data_into_its_place_and_runs_nothing(yours):
    said = yours.tilth("fetch")
    assert "checked out: 3 missing outputs of .dvc files" in said and "  raw/more\n" in said
    assert yours.repro() == []
    assert (yours.path / "rows/all.jsonl").read_text() == "a 1\nb 1\nc 1\nfar\n"
    assert yours.run("git", "status", "--porcelain") == ""
    assert "checked out" not in yours.tilth("fetch")


def test_a_dry_run_names_them_and_puts_nothing(yours):
    said = yours.tilth("fetch", "--dry-run")
    assert "would be checked out: 3 missing outputs of .dvc files" in said
    assert not (yours.path / "raw/a.jsonl").exists()


def test_what_lies_in_the_workspace_stays_as_it_is(yours):
    (yours.path / "raw/a.jsonl").write_text("mine\n", encoding="utf-8")
    (yours.path / "raw/more").mkdir()
    (yours.path / "raw/more/b.jsonl").write_text("mine too\n", encoding="utf-8")
    (yours.path / "raw/far.jsonl").symlink_to("nowhere")
    assert "checked out" not in yours.tilth("fetch")
    assert (yours.path / "raw/a.jsonl").read_text() == "mine\n"
    assert [path.name for path in (yours.path / "raw/more").iterdir()] == ["b.jsonl"]
    assert (yours.path / "raw/far.jsonl").is_symlink()


def test_a_folder_that_is_not_whole_on_the_remote_is_not_put_there_in_part(yours, tmp_path):
    gone = next(
        path for path in (tmp_path / "remote/files/md5").rglob("*") if path.is_file() and path.read_bytes() == b"c 1\n"
    )
    gone.unlink()
    said = yours.tilth("fetch", fails=True)
    assert "raw/more.dvc: more: 1 object is neither here nor on the remote" in said
    assert "checked out: 2 missing outputs" in said
    assert not (yours.path / "raw/more").exists()


class Full:
    """An output of a folder on a disk that is full after its first file."""

    def __init__(self, path):
        self.fs_path = str(path)

    def __str__(self):
        return "raw/more"

    def get_files_number(self):
        return 2

    def checkout(self, **_):
        os.mkdir(self.fs_path)
        Path(self.fs_path, "b.jsonl").write_text("b 1\n", encoding="utf-8")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_a_full_disk_cuts_is_told_and_taken_away_again(tmp_path):
    with pytest.raises(Problems, match="raw/more: .*No space left on device"):
        put([Full(tmp_path / "more")])
    assert not list(tmp_path.iterdir())
