import hashlib

import pytest
from builds import git

from commands.builds import sources as _sources
from commands.builds.build import Build
from commands.builds.git import commit_of
from commands.builds.sources import data_files, files_of_source, hash_source, md5_of_source, sources_of
from stages.core.dvc_cache import cache_folder
from stages.core.hashes import folder_md5


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a folder of two files, one of them with a name that needs care."""
    monkeypatch.chdir(tmp_path)
    cache_folder.cache_clear()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a b\n.jsonl").write_bytes(b"one")
    (tmp_path / "raw/.hidden").write_bytes(b"two")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "raw"]):
        git(tmp_path, *arguments)
    yield tmp_path
    cache_folder.cache_clear()


def build(rev=None):
    return Build(commit_of(rev) if rev else None, {})


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("rev", [None, "HEAD"])
def test_a_folder_is_hashed_as_dvc_does_here_and_at_a_commit(project, rev):
    found = sources_of(build(rev), ["raw", "raw/.hidden", "nowhere"])
    # the list that DVC hashes: sorted by path, JSON with sorted keys
    listing = (
        f'[{{"md5": "{md5(b"two")}", "relpath": ".hidden"}}, {{"md5": "{md5(b"one")}", "relpath": "a b\\n.jsonl"}}]'
    )
    assert md5_of_source("raw", found["raw"]) == f"{md5(listing.encode())}.dir" == hash_source("raw")
    assert md5_of_source("raw/.hidden", found["raw/.hidden"]) == md5(b"two") == hash_source("raw/.hidden")
    assert md5_of_source("nowhere", found["nowhere"]) is None
    assert [file.path for file in data_files(found["raw"], "raw")] == ["raw/a b\n.jsonl"]


@pytest.mark.parametrize("rev", [None, "HEAD"])
def test_what_is_large_is_not_read_but_has_the_blob_of_git(project, rev, monkeypatch):
    monkeypatch.setattr(_sources, "READ_BYTES", 5)
    found = sources_of(build(rev), ["raw"])["raw"]
    assert md5_of_source("raw", found) == "" and {file.md5 for file in found} == {None}
    assert found[1].git == hashlib.sha1(b"blob 3\0one").hexdigest()


def test_a_large_file_that_was_changed_has_no_blob(project, monkeypatch):
    monkeypatch.setattr(_sources, "READ_BYTES", 5)
    (project / "raw/a b\n.jsonl").write_bytes(b"six")
    found = {file.path: file.git for file in sources_of(build(), ["raw"])["raw"]}
    assert found["raw/a b\n.jsonl"] is None and found["raw/.hidden"]


def test_a_commit_is_read_as_it_was(project):
    (project / "raw/a b\n.jsonl").write_bytes(b"changed")
    assert [file.md5 for file in sources_of(build("HEAD"), ["raw"])["raw"]] == [md5(b"two"), md5(b"one")]


@pytest.mark.parametrize("rev", [None, "HEAD"])
def test_what_dvc_always_ignores_is_no_part_of_a_hash(project, rev):
    before = hash_source("raw")
    (project / "raw/.hg").mkdir()
    (project / "raw/.hg/x").write_bytes(b"x")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "ignored")
    assert hash_source("raw") == before == md5_of_source("raw", sources_of(build(rev), ["raw"])["raw"])


@pytest.mark.slow
@pytest.mark.parametrize("rev", [None, "HEAD"])
def test_what_dvcignore_names_is_no_part_of_a_hash(project, rev):
    before = hash_source("raw")
    for name, text in (
        (".dvcignore", "*.partial\n__pycache__\n!kept.partial\n"),
        ("raw/x.partial", "x"),
        ("raw/__pycache__/x.pyc", "x"),
        ("raw/.dvcignore", "notes/\n.dvcignore\n"),
        ("raw/notes/x.txt", "x"),
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "ignored")
    assert hash_source("raw") == before == md5_of_source("raw", sources_of(build(rev), ["raw"])["raw"])
    (project / "raw/kept.partial").write_bytes(b"x")
    assert files_of_source("raw") == ["raw/.hidden", "raw/a b\n.jsonl", "raw/kept.partial"]


def test_a_source_may_be_a_file_or_nothing(project):
    assert files_of_source("raw/.hidden") == ["raw/.hidden"] and files_of_source("none") == []


@pytest.mark.slow
def test_dvcignore_is_that_of_the_commit(project):
    (project / ".dvcignore").write_text(".hidden\n", encoding="utf-8")
    assert [file.path for file in sources_of(build("HEAD"), ["raw"])["raw"]] == ["raw/.hidden", "raw/a b\n.jsonl"]
    assert [file.path for file in sources_of(build(), ["raw"])["raw"]] == ["raw/a b\n.jsonl"]


@pytest.mark.parametrize("text", ["", "outs: []", "outs:\n- path: raw\n", "[", "outs:\n- md5: 5f0e\n  path: raw\n"])
def test_a_dvc_file_that_says_nothing_of_a_file_is_passed_over(project, text):
    (project / "raw.dvc").write_text(text, encoding="utf-8")
    assert [file.md5 for file in sources_of(build(), ["raw"])["raw"]] == [md5(b"two"), md5(b"one")]


def test_a_dvc_file_knows_the_hash_of_what_is_too_large_to_read(project, monkeypatch):
    monkeypatch.setattr(_sources, "READ_BYTES", 2)
    (project / "raw/.hidden.dvc").write_text("outs:\n- md5: 5f0e\n  path: .hidden\n", encoding="utf-8")
    (file,) = sources_of(build(), ["raw/.hidden"])["raw/.hidden"]
    assert (file.md5, file.read) == ("5f0e", False)


def test_the_order_of_files_says_nothing():
    assert folder_md5({"a": "1", "b": "2"}) == folder_md5({"b": "2", "a": "1"}) != folder_md5({"a": "2", "b": "1"})


@pytest.mark.parametrize(
    ("deps", "address"),
    [
        ("", None),
        ("deps: []\n", None),
        ("deps:\n- path: https://ada:secret@example.org/raw\n  etag: x\n", "https://***@example.org/raw"),
        ("deps:\n- path: https://example.org/raw?sig=secret\n  etag: x\n", "https://example.org/raw?sig=***"),
        (
            "deps:\n- path: raw\n  repo:\n    url: git@example.org:a.git\n    rev_lock: x\n",
            "git@example.org:a.git: raw",
        ),
    ],
)
def test_where_dvc_had_data_from_is_told_without_a_password(project, deps, address):
    (project / "raw/.hidden.dvc").write_text(f"{deps}outs:\n- md5: 5f0e\n  path: .hidden\n", encoding="utf-8")
    found = {file.path: (file.dvc, file.imported) for file in sources_of(build(), ["raw"])["raw"]}
    assert found["raw/.hidden"] == ("raw/.hidden.dvc", address) and found["raw/a b\n.jsonl"] == (None, None)
