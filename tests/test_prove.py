"""`tilth prove` and `tilth verify PROOF`: on a real build, in the house and away from it, and after a record is forgotten."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from builds import to_break, write_seen

from commands import prove, provenance, verify
from commands.builds import build as _build
from commands.records import search
from commands.statements.folder import statement_path
from stages.rows.tables import REJECTS, to_table
from stages.training.exposure import read_exposure
from validators.problems import Problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(built, tmp_path_factory):
    return built.copy(tmp_path_factory.mktemp("prove") / "p")


@pytest.fixture
def project(built, copy, monkeypatch):
    """A built project with its statements; what a test changes is put back after it."""
    search.connect.cache_clear()
    with to_break(built, copy, monkeypatch):
        provenance.main()
        yield copy


def rows_of(dataset, seen_by):
    """(ids that a step saw, ids that it did not) of a dataset."""
    times, _ = read_exposure(f"scores/{seen_by}.seen.parquet")
    ids = pq.read_table(f"data/train/{dataset}.parquet", columns=["id"])["id"].to_pylist()
    return [each for each, count in zip(ids, times, strict=True) if count], [
        each for each, count in zip(ids, times, strict=True) if not count
    ]


def proved(row, model, **options):
    prove.main(SimpleNamespace(obj=Path.cwd()), row, model, **{"out": "x.json", "as_text": False} | options)
    return json.loads(Path("x.json").read_text(encoding="utf-8"))


def test_rows_that_a_model_or_its_parent_saw_are_proved_and_others_are_not(project, capsys):
    sft, _ = rows_of("chat", "sft")
    align, unseen = rows_of("pairs", "align")
    assert sft and align and unseen
    for row in (sft[0], align[0]):
        assert proved(row, "align")["trained"]
    assert proved(sft[0], "sft")["trained"] and not proved(align[0], "sft")["trained"]
    assert not proved(unseen[0], "align")["trained"]
    assert proved(sft[0], "align")["size"] == len({*sft, *align})
    verify.main("x.json")
    assert f"{sft[0]} is one of the {len({*sft, *align}):,} rows that align was trained on" in capsys.readouterr().out


def test_a_row_may_be_a_line_of_a_file_or_a_text(project):
    table = pq.read_table("data/train/chat.parquet", columns=["id", "source", "line"]).to_pylist()
    seen = set(rows_of("chat", "sft")[0])
    for row in table[:3]:
        found = proved(f"{row['source']}:{row['line']}", "sft")
        assert (found["id"], found["trained"]) == (row["id"], row["id"] in seen)


def test_who_has_the_proof_and_the_statement_needs_nothing_else(project, tmp_path):
    proved(rows_of("chat", "sft")[0][0], "sft")
    for file in ("x.json", statement_path("sft")):
        shutil.copy(file, tmp_path)
    environment = os.environ | {"PYTHONPATH": str(Path(prove.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "commands", "verify", "x.json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "is one of the" in done.stdout, done.stderr
    (tmp_path / "sft.intoto.json").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "commands", "verify", "x.json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "sft.intoto.json: is not there" in done.stderr


def test_the_statement_of_another_model_is_named(project):
    proved(rows_of("chat", "sft")[0][0], "sft")
    with pytest.raises(Problems, match="is of model 'sft'; expected align"):
        verify.main("x.json", statement=str(statement_path("align")))


def test_a_damaged_tree_is_made_anew(project):
    from commands.statements.tree_cache import FOLDER

    row, size = rows_of("chat", "sft")[0][0], 0
    for file in FOLDER.iterdir():
        data = bytearray(file.read_bytes())
        size += len(data)
        data[3] ^= 1
        file.write_bytes(data)
    assert size and proved(row, "sft")["trained"]
    verify.main("x.json")


def test_a_proof_is_of_the_build_that_is_there(project):
    times, facts = read_exposure("scores/sft.seen.parquet")
    write_seen(
        "sft", [int(not count) for count in times], **{key: facts[key] for key in ("dataset", "rows_sha256", "tokens")}
    )
    with pytest.raises(Problems, match=r"is of another build: scores/sft\.seen\.parquet"):
        proved(rows_of("chat", "sft")[0][0], "align")


def test_mistakes_are_named(project):
    with pytest.raises(Problems, match="no such step\n  hint: did you mean 'align'"):
        proved("5f" * 32, "aligm")
    lost = {
        "id": None,
        "source": "data/raw/chat/table.csv",
        "line": 999,
        "stage": "ingest",
        "check": "ingest.json",
        "detail": "",
        "raw": "x",
    }
    Path("data/rejected/chat.parquet").unlink()
    pq.write_table(to_table([lost], REJECTS), "data/rejected/chat.parquet")
    with pytest.raises(Problems, match="became no row, so it has no id"):
        proved("data/raw/chat/table.csv:999", "sft")
    statement_path("sft").unlink()
    with pytest.raises(Problems, match=r"sft\.intoto\.json: is not there"):
        proved("5f" * 32, "sft")


def test_a_forgotten_record_is_proved_to_be_in_no_model_any_more(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "p")
    monkeypatch.chdir(project.folder)
    _build.cache_folder.cache_clear()
    search.connect.cache_clear()
    row = rows_of("chat", "sft")[0][0]
    provenance.main()
    assert proved(row, "align")["trained"]
    project.run("python", "-m", "commands", "forget", row, "--reason", "request 17", "--yes")
    project.repro("train@align")
    search.connect.cache_clear()
    with pytest.raises(Problems, match="is of another build"):
        proved(row, "align")
    provenance.main()
    for given in (row, row[:12]):
        assert not proved(given, "align")["trained"]
    verify.main("x.json")


def test_a_proof_and_its_check_are_told_as_json(project, capsys):
    (row, *_), _ = rows_of("chat", "sft")
    capsys.readouterr()
    proved(row, "sft", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["id"], found["trained"]) == ("sft", row, True) and Path(found["proof"]).is_file()
    verify.main("x.json", as_json=True)
    checked = json.loads(capsys.readouterr().out)
    assert (checked["model"], checked["id"], checked["trained"], checked["rows"]) == ("sft", row, True, found["rows"])
