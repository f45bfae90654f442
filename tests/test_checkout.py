"""Raw data of .dvc files between two people: a file and a folder that were added, and an import whose source is gone."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from test_share import Folder

from commands.sharing.checkout import place_outputs
from validators.problems import Problems

pytestmark = pytest.mark.slow
GRAPH = """
stages:
  ingest:
    cmd: mkdir -p rows && sh copy.sh > rows/all.jsonl
    deps: [copy.sh, raw/a.jsonl, raw/more, raw/far.jsonl]
    outs: [rows/all.jsonl]
"""
COPY = "cat raw/a.jsonl raw/more/*.jsonl raw/far.jsonl"
SECOND = "a 2\nmore/b 2\nmore/c 2\nfar\n"


def write(project, number):
    """A version of the data, which DVC takes down."""
    for name in ("a", "more/b", "more/c"):
        path = project.path / f"raw/{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a link to the cache
        path.write_text(f"{name} {number}\n", encoding="utf-8")
    project.run("dvc", "add", "raw/a.jsonl", "raw/more")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Three versions were built: the first is committed, the third never was, the second is committed and in use."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "project/raw").mkdir(parents=True)
    (folder / "far.jsonl").write_text("far\n", encoding="utf-8")
    made = Folder(folder / "project")
    (made.path / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    (made.path / "copy.sh").write_text(COPY, encoding="utf-8")
    made.run("git", "init", "-q")
    made.run("dvc", "init", "-q")
    made.run("dvc", "remote", "add", "--default", "team", "../remote")
    made.run("dvc", "import-url", str(folder / "far.jsonl"), "raw/far.jsonl")
    for number, committed in ((1, True), (3, False), (2, True)):
        write(made, number)
        assert made.repro() == ["ingest"]
        if committed:
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
    assert (yours.path / "rows/all.jsonl").read_text() == SECOND
    assert yours.run("git", "status", "--porcelain") == ""
    assert "checked out" not in yours.tilth("fetch")


def test_an_earlier_version_is_restored_and_nothing_runs(yours):
    yours.tilth("fetch")
    yours.run("git", "checkout", "-q", "HEAD~1")
    yours.run("dvc", "checkout")
    assert yours.repro() == []
    assert (yours.path / "rows/all.jsonl").read_text() == SECOND.replace("2", "1")
    assert yours.run("git", "status", "--porcelain") == ""


def test_data_that_were_built_and_never_committed_are_shared_and_code_is_not(yours, tmp_path):
    texts = {path.read_text() for path in (tmp_path / "remote/files/md5").rglob("*") if path.is_file()}
    assert {"a 3\n", "more/b 3\n", "more/c 3\n"} <= texts and COPY not in texts
    assert "incomplete" not in yours.tilth("fetch")


def test_data_that_must_not_be_pushed_stay_here_in_all_their_versions(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "mine", symlinks=True)
    mine = Folder(tmp_path / "mine")
    file = mine.path / "raw/more.dvc"
    file.write_text(f"{file.read_text()}  push: false\n", encoding="utf-8")
    assert "left alone: more has `push: false`" in mine.tilth("share")
    texts = {path.read_text() for path in mine.objects("../remote")}
    assert {"a 1\n", "a 2\n", "a 3\n"} <= texts
    assert not [text for text in texts if text.startswith("more/")]


def test_earlier_data_that_are_damaged_are_named_and_stay_here(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "mine", symlinks=True)
    mine = Folder(tmp_path / "mine")
    bad = next(path for path in mine.objects() if path.read_bytes() == b"more/b 1\n")
    bad.chmod(0o644)
    bad.write_text("damaged", encoding="utf-8")
    said = mine.tilth("share")
    assert "raw data of an earlier run: raw/more: 1 object is damaged in the cache here" in said
    lists = [path.read_text() for path in mine.objects("../remote") if path.suffix == ".dir"]
    assert len(lists) == 2 and not any(bad.parent.name + bad.name in text for text in lists)


@pytest.fixture
def single(tmp_path):
    """Two versions of one file that DVC keeps in a folder of git's: runs know the folder's hash, and no object."""
    mine = Folder(tmp_path / "single")
    (mine.path / "raw").mkdir(parents=True)
    graph = "stages: {ingest: {cmd: cat raw/*.jsonl > rows, deps: [raw], outs: [rows]}}\n"
    (mine.path / "dvc.yaml").write_text(graph, encoding="utf-8")
    (mine.path / "raw/git.jsonl").write_text("of git\n", encoding="utf-8")
    mine.run("git", "init", "-q")
    mine.run("dvc", "init", "-q")
    mine.run("dvc", "remote", "add", "--default", "team", "../elsewhere")
    for number in (1, 2):
        (mine.path / "raw/a.jsonl").unlink(missing_ok=True)
        (mine.path / "raw/a.jsonl").write_text(f"a {number}\n", encoding="utf-8")
        mine.run("dvc", "add", "raw/a.jsonl")
        assert mine.repro() == ["ingest"]
        mine.commit()
    return mine


def test_an_earlier_version_of_a_single_file_in_a_folder_is_restored(single, tmp_path):
    single.tilth("share")
    yours = single.clone(tmp_path / "yours")
    yours.tilth("fetch")
    yours.run("git", "checkout", "-q", "HEAD~1")
    yours.run("dvc", "checkout")
    assert yours.repro() == []
    assert (yours.path / "rows").read_text() == "a 1\nof git\n"


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
        path
        for path in (tmp_path / "remote/files/md5").rglob("*")
        if path.is_file() and path.read_bytes() == b"more/c 2\n"
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
    with pytest.raises(Problems, match=r"raw/more: .*No space left on device"):
        place_outputs([Full(tmp_path / "more")])
    assert not list(tmp_path.iterdir())
