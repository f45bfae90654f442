"""Fetch: what comes from a remote is checked before it is believed."""

import hashlib
import json
import shutil

import pytest
from dvc_data.hashfile.hash_info import HashInfo
from test_share import CHECKED, Folder, project

from commands.sharing.variants import parse_folder_list

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    made = project(tmp_path_factory.mktemp("fetch") / "project")
    made.tilth("share")
    return made


@pytest.fixture
def mine(once, tmp_path):
    for name in ("project", "remote"):
        shutil.copytree(once.path.parent / name, tmp_path / name, symlinks=True)
    return Folder(tmp_path / "project")


@pytest.fixture
def yours(mine, tmp_path):
    return mine.clone(tmp_path / "yours")


def test_a_damaged_object_of_the_remote_does_not_enter_the_cache(mine, yours):
    bad = mine.object_of("models/align", "../remote")
    bad.chmod(0o644)
    bad.write_text("damaged", encoding="utf-8")
    bad.chmod(0o444)  # DVC trusts what is read-only
    said = yours.tilth("fetch", fails=True)
    assert "remote team: 1 file could not be moved: damaged on the remote" in said
    assert not (yours.path / ".dvc/cache/files/md5" / bad.parent.name / bad.name).exists()
    good = mine.object_of("models/align")
    bad.unlink()
    shutil.copyfile(good, bad)
    yours.tilth("fetch")
    assert yours.repro() == []


def test_dvc_pull_leaves_out_what_is_damaged_where_the_remote_says_verify(mine, yours):
    """As every recipe of docs/sharing.md has it: dvc itself takes one flipped byte for the model."""
    bad = mine.object_of("models/align", "../remote")
    text = bad.read_bytes()
    bad.chmod(0o644)
    bad.write_bytes(bytes([text[0] ^ 1]) + text[1:])
    bad.chmod(0o444)
    trusting = mine.clone(yours.path.with_name("trusting"))
    trusting.run("dvc", "pull")
    assert trusting.repro() == []  # with the wrong bytes; should dvc look one day, the recipes need their line no more
    yours.run("dvc", "remote", "modify", "team", "verify", "true")
    assert "Checkout failed" in yours.run("dvc", "pull", fails=True)
    assert not (yours.path / ".dvc/cache/files/md5" / bad.parent.name / bad.name).exists()
    assert yours.repro() == ["train"]
    assert yours.run("git", "diff", "--stat", "dvc.lock") == ""
    assert yours.object_of("models/align").read_bytes() == text


def test_an_object_that_is_nowhere_is_named(mine, yours):
    mine.object_of("models/align", "../remote").unlink()
    said = yours.tilth("fetch", fails=True)
    assert "train: models/align: 1 object is neither here nor on the remote" in said
    assert "hint: ask whoever built it for `tilth share`" in said


def test_a_remote_that_is_empty_or_away_says_what_is_lacking(mine, yours, tmp_path):
    shutil.rmtree(tmp_path / "remote")
    said = yours.tilth("fetch", fails=True)
    assert "train: models/align: 1 object is neither here nor on the remote" in said
    assert "evaluate: scores/align.json: 1 object is neither here nor on the remote" in said


def test_a_record_that_was_changed_on_the_remote_is_not_believed(mine, yours, tmp_path):
    """Under the name of another record, it would make DVC write wherever it says."""
    records = sorted(path for path in (tmp_path / "remote/runs").rglob("*") if path.is_file())
    for record in records:
        record.write_text(record.read_text().replace("path: models/align", "path: ../outside"), encoding="utf-8")
    said = yours.tilth("fetch")
    assert said.count("its content does not belong to its name") == 4  # two variants of train, two of evaluate
    assert yours.repro() == []
    yours.switch(2)
    assert "train" in yours.repro()
    assert not (tmp_path / "outside").exists()


def test_a_folder_list_that_leaves_its_folder_is_refused(mine, yours, tmp_path):
    """The names of its files would be paths outside the repository."""
    evil = json.dumps([{"md5": "0" * 32, "relpath": "../../../outside"}]).encode()
    md5 = hashlib.md5(evil, usedforsecurity=False).hexdigest()
    placed = tmp_path / f"remote/files/md5/{md5[:2]}/{md5[2:]}.dir"
    placed.parent.mkdir(exist_ok=True)
    placed.write_bytes(evil)
    lock = yours.path / "dvc.lock"
    before = mine.lock_md5("models/align")
    lock.write_text(lock.read_text().replace(before, f"{md5}.dir"), encoding="utf-8")
    said = yours.tilth("fetch", fails=True)
    assert "models/align: 1 object is damaged on the remote" in said


def test_a_hash_that_is_a_path_is_refused(mine, yours, tmp_path):
    """Of a record that somebody made up whole: as the name of an object, it would be written there."""
    from dvc.stage.cache import _get_cache_hash
    from dvc.utils.serialize import parse_yaml

    (tmp_path / "remote/evil").write_text("evil", encoding="utf-8")
    text = f"""cmd: x
deps: [{{path: raw.txt, hash: md5, md5: "..{tmp_path}/remote/evil"}}]
outs: [{{path: models/align, hash: md5, md5: {"a" * 32}}}]
"""
    record = parse_yaml(text, "record")
    value, key = _get_cache_hash(record), _get_cache_hash(record, key=True)
    placed = tmp_path / f"remote/runs/{key[:2]}/{key}/{value}"
    placed.parent.mkdir(parents=True)
    placed.write_text(text, encoding="utf-8")
    assert "remote/evil is no hash" in yours.tilth("fetch")
    assert (tmp_path / "remote/evil").is_file()


def test_a_list_of_a_folder_names_hashes_and_nothing_else():
    for md5, trusted in (("0" * 32, True), ("../etc/passwd", False), (1, False)):
        data = json.dumps([{"md5": md5, "relpath": "a"}]).encode()
        folder = HashInfo("md5", hashlib.md5(data, usedforsecurity=False).hexdigest() + ".dir")
        assert bool(parse_folder_list(folder, data)) == trusted


def test_a_fetch_that_was_cut_short_goes_on_where_it_was(mine, yours):
    whole = mine.object_of("models/align", "../remote")
    aside = whole.with_name("aside")
    whole.rename(aside)
    yours.tilth("fetch", fails=True)
    aside.rename(whole)
    said = yours.tilth("fetch")
    assert "remote team: 2 objects" in said  # the object that was away, and the list of its folder
    assert yours.repro() == []


def test_objects_that_a_cut_transfer_of_dvc_left_are_replaced_on_both_sides(mine, yours):
    """DVC takes an object for whole that is there."""
    there, whole = mine.object_of("models/align", "../remote"), mine.object_of("models/align").read_bytes()
    cut(there)
    assert "remote team: 1 object (" in mine.tilth("share")
    assert there.read_bytes() == whole
    yours.tilth("fetch")
    here = yours.path / ".dvc/cache/files/md5" / there.parent.name / there.name
    cut(here)
    assert "remote team: 1 object (" in yours.tilth("fetch")
    assert here.read_bytes() == whole


def cut(path):
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    path.chmod(0o444)  # DVC trusts what is read-only


def test_the_working_tree_is_left_as_it_is(yours):
    yours.tilth("fetch")
    assert not (yours.path / "models/align").exists()
    assert yours.run("git", "status", "--porcelain") == ""


def test_a_graph_without_a_lock_fetches_the_records_alone(mine, tmp_path):
    """A colleague who starts from the graph, not from a commit that was built."""
    yours = mine.clone(tmp_path / "yours")
    (yours.path / "dvc.lock").unlink()
    yours.tilth("fetch")
    yours.switch(2)
    assert yours.repro() == CHECKED
