"""What DVC has of builds before: read as DVC writes it, and passed over where it is not."""

import json

import pytest
from ruamel.yaml import YAML

from stages.core import dvc_cache
from stages.core.dvc_cache import StageRun, cache_folder, files_in_folder, stage_runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "machine"))
    (tmp_path / ".dvc").mkdir()
    cache_folder.cache_clear()
    yield tmp_path
    cache_folder.cache_clear()


def entry(cmd, **outs):
    sides = [{"path": path, "hash": "md5", "md5": md5, "size": 1} for path, md5 in outs.items()]
    return {"cmd": cmd, "deps": [{"path": "in", "hash": "md5", "md5": "aa", "size": 1}], "outs": sides}


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        YAML().dump(data, file)


def test_records_are_those_of_dvc_lock_then_those_of_the_run_cache(folder):
    lock = {
        "train@a": entry("accelerate launch -m stages train a", out="11"),
        "base": entry("python -m stages base", x="22"),
    }
    write(folder / "dvc.lock", {"schema": "2.0", "stages": lock})
    write(folder / ".dvc/cache/runs/ab/abc/1", entry("python -m stages train b", out="33"))
    write(folder / ".dvc/cache/runs/ab/abc/2", entry("python -m stages trainer b", out="44"))
    assert list(stage_runs("train")) == [
        StageRun("accelerate launch -m stages train a", "train", "a", {"in": "aa"}, {"out": "11"}),
        StageRun("python -m stages train b", "train", "b", {"in": "aa"}, {"out": "33"}),
    ]
    assert [record.name for record in stage_runs("train", "base")] == ["a", None, "b"]


@pytest.mark.parametrize(
    "text",
    ["<<<<<<< ours\n", "stages: [1, 2]\n", "stages: {a: 1, b: {cmd: 3}, c: {cmd: -m stages train}}\n", "\x00", ""],
)
def test_what_cannot_be_read_has_no_records(folder, text):
    (folder / "dvc.lock").write_text(text)
    (folder / ".dvc/cache/runs/ab/abc").mkdir(parents=True)
    (folder / ".dvc/cache/runs/ab/abc/1").write_text(text + "-m stages train\n")
    assert list(stage_runs("train")) == []


def test_the_files_of_a_folder_are_those_that_the_cache_lists(folder):
    kept = folder / ".dvc/cache/files/md5/ab/cd.dir"
    assert files_in_folder("abcd.dir") is None
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps([{"md5": "11", "relpath": "a/b"}]))
    assert files_in_folder("abcd.dir") == {"a/b": "11"}
    kept.write_text(json.dumps([{"md5": "11", "relpath": "a/b"}])[:-4])
    assert files_in_folder("abcd.dir") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, ".dvc/cache"),
        ({".dvc/config": '[core]\n    remote = "cache"\n[cache]\n    type = hardlink\n'}, ".dvc/cache"),
        ({".dvc/config": "[cache]\n    dir = ../shared # of all\n"}, ".dvc/../shared"),
        ({"user/config": "[cache]\n    dir = /a\n", ".dvc/config": "[cache]\n    dir = /b\n"}, "/b"),
        (
            {"machine/config": "[cache]\n    dir = /a\n", ".dvc/config.local": "['remote \"x\"']\n    url = cache\n"},
            "/a",
        ),
    ],
)
def test_the_cache_is_where_dvc_has_it(folder, files, expected):
    from dvc.config import Config

    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert cache_folder().parents[1] == dvc_cache.Path(expected)
    told = Config(".dvc", validate=False).get("cache", {}).get("dir") or ".dvc/cache"
    assert cache_folder().parents[1].resolve() == dvc_cache.Path(told).resolve()
