"""One bit changed at a random place of anything that a build is made of, or made: `tilth verify` names the file, each time."""

import json
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from test_envelope import write_key

from commands import provenance, sign, verify
from commands.builds import build as _build
from commands.statements.keys import TEAM_KEYS
from validators.problems import Problems

ROOMS = {
    "raw data": ["data/raw"],
    "code": ["stages", "validators", "commands"],
    "params": ["params.yaml", "dvc.yaml", "dvc.lock", ".build"],
    "tables": [
        "data/ingested",
        "data/validated",
        "data/train",
        "data/eval",
        "data/rejected",
        "data/kept",
        "preflight",
        "scores",
    ],
    "models": ["models"],
    "statements": ["provenance"],
}
ALONE = ("params.yaml", "dvc.yaml", "dvc.lock")  # where one of these does not parse, nothing else can be told


@pytest.fixture(scope="module")
def signed(built, tmp_path_factory):
    """A build with its statements, signed and committed."""
    place = tmp_path_factory.mktemp("bits")
    project = built.copy(place / "p")
    write_key(place / "key.pem")
    before = Path.cwd()
    os.chdir(project.folder)
    try:
        _build.cache_folder.cache_clear()
        provenance.main()
        sign.main(SimpleNamespace(obj=place), key="key.pem")
        TEAM_KEYS.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "key.pub", TEAM_KEYS)
        project.commit()
        yield project
    finally:
        os.chdir(before)


def files_of(room):
    found = [Path(name) for name in ROOMS[room] if Path(name).is_file()]
    found += [path for name in ROOMS[room] for path in Path(name).rglob("*") if path.is_file()]
    return sorted(path for path in found if path.stat().st_size and "__pycache__" not in path.parts)


def named(capsys):
    """Where each break is, as `tilth verify` tells it."""
    capsys.readouterr()
    _build.cache_folder.cache_clear()
    try:
        verify.main(as_json=True)
    except Problems as error:
        return [problem.where for problem in error.problems]
    except typer.Exit:
        return [problem["where"] for problem in json.loads(capsys.readouterr().out)["broken"]]
    return []


def flipped(path, pick):
    """The bytes of a file before one bit of it is changed."""
    data = path.read_bytes()
    at = pick.randrange(len(data))
    path.unlink()  # it may be a link into the cache
    path.write_bytes(data[:at] + bytes([data[at] ^ 1 << pick.randrange(8)]) + data[at + 1 :])
    return data


def missed(changes, capsys, seed=5, a_room=4):
    """The changes that `tilth verify` does not name, of so many. Several files are changed at a time, one bit in each."""
    pick, left, done = random.Random(seed), [], 0
    assert named(capsys) == []
    while done < changes:
        files = [file for room in ROOMS for file in pick.sample(files_of(room), min(a_room, len(files_of(room))))]
        alone = [file for file in files if file.as_posix() in ALONE]
        for group in [[file] for file in alone] + [[file for file in files if file not in alone]]:
            modes = {file: file.stat().st_mode for file in group}
            kept = {file: flipped(file, pick) for file in group}
            told = named(capsys)
            left += [file.as_posix() for file in group if not any(where.startswith(file.as_posix()) for where in told)]
            for file, data in kept.items():
                file.write_bytes(data)
                file.chmod(modes[file])
            done += len(group)
    assert named(capsys) == []
    return left


@pytest.mark.slow
def test_a_bit_changed_anywhere_is_named(signed, capsys):
    assert missed(40, capsys) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_bits_changed_anywhere_are_each_named(signed, capsys):
    assert missed(1_000, capsys, seed=11, a_room=9) == []
