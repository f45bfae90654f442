"""A clone has the bytes that were committed, whatever git is told of line ends: else DVC would build everything anew."""

import shutil
import subprocess

import pytest
from conftest import ROOT, Project

CRLF = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf")


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def clone(folder, target):
    git(folder, *CRLF, "clone", "-q", "--config", "core.autocrlf=true", ".", str(target))
    return target


@pytest.mark.parametrize("attributes, same", [(True, True), (False, False)])
def test_a_clone_with_autocrlf_has_the_bytes_that_were_committed(tmp_path, attributes, same):
    source = tmp_path / "source"
    source.mkdir()
    (source / "data.jsonl").write_bytes(b'{"a": 1}\n{"a": 2}\n')
    (source / "windows.csv").write_bytes(b"a,b\r\n1,2\r\n")
    if attributes:
        shutil.copy(ROOT / ".gitattributes", source)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "t"]):
        git(source, *command)
    there = clone(source, tmp_path / "there")
    assert ((there / "data.jsonl").read_bytes() == (source / "data.jsonl").read_bytes()) == same
    assert (there / "windows.csv").read_bytes() == (source / "windows.csv").read_bytes()


@pytest.mark.slow
def test_dvc_has_nothing_to_run_in_a_clone_with_autocrlf(built, tmp_path):
    there = Project(clone(built.folder, tmp_path / "there"))
    shutil.copytree(built.folder / ".dvc/cache", there.folder / ".dvc/cache")
    there.run("dvc", "checkout")
    assert there.repro() == set()
    assert "up to date" in there.run("dvc", "status")
