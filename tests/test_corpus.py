"""tests/shapes/: small raw files, one of each shape and of each fault, beside what `ingest` makes of each.

tests/shapes/alpaca.jsonl.golden.json: {"what": ..., "dataset": {"kind": "sft"}, "rows": [...], "rejects": [...], ...}

`what` and `dataset` (the entry of params.yaml) are written by hand. After a change of the code, or for a new file,
`python tests/test_corpus.py --write` writes the rest anew: what changed for a user is the diff.
"""

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from stages.dedup.forgotten import INGEST_CHECK
from stages.ingest import ingest_part, lost_key_problems
from stages.reading.containers import describe_container
from stages.reading.parts import split_file
from stages.rows import turns
from stages.rows.batches import batches
from stages.rows.checks import INGEST, KINDS
from stages.rows.options import options_of
from stages.rows.shapes import CONVERTERS, READERS
from stages.rows.tables import COLUMNS
from validators._formats import option_problems
from validators.params import Dataset
from validators.problems import Problems

FOLDER = Path(__file__).parent / "shapes"
GOLDEN = ".golden.json"
NAMES = sorted(path.name for path in FOLDER.iterdir() if not path.name.endswith(GOLDEN))
BY_HAND = ("what", "dataset", "forgotten")
WIDTH = 118


def golden(name):
    return json.loads((FOLDER / (name + GOLDEN)).read_text(encoding="utf-8"))


def found(name, head, folder):
    """What ingest makes of a raw file, as its golden file says it. head: what is written by hand there."""
    entry = Dataset(raw=name, **head["dataset"]).model_dump()
    try:
        with contextlib.chdir(FOLDER):
            return read(Path(name), entry, Path(folder), head.get("forgotten", []))
    except Problems as error:
        return {"refused": str(error).splitlines()}


def read(path, entry, folder, forgotten_lines):
    (part,) = split_file(path)
    kind, options, ids = entry["kind"], options_of(entry), frozenset()
    if forgotten_lines:
        ingest_part((part, folder / "before.parquet"), kind, options)
        ids = {row["id"] for row in rows_of(folder / "before.parquet", ["id"]) if row["line"] in forgotten_lines}
    counts, rejects, shapes, account = ingest_part((part, folder / "rows.parquet"), kind, options, frozenset(ids))
    assert counts["records"] == counts["rows"] + counts["rejects"]
    rows = rows_of(folder / "rows.parquet", list(COLUMNS[kind]))
    said = {
        "container": describe_container(part.container),
        "shapes": dict(shapes),
        "rows": [
            {key: value for key, value in row.items() if value is not None or key in ("label", "ground_truth")}
            for row in rows
        ],
        "rejects": [{key: row[key] for key in ("line", "check", "detail")} for row in rejects.to_pylist()],
        "keys_not_used": dict(sorted(account.unused.items())),
        "stops": [str(problem) for problem in lost_key_problems("d", {path.as_posix(): account})],
    }
    return {key: value for key, value in said.items() if value or key in ("rows", "rejects")}


def rows_of(path, columns):
    """Rows of a Parquet file, the line first."""
    rows = [row for batch in batches(path, ["line", *columns]) for row in batch]
    return [{"line": row["line"]} | row for row in rows]


def write(name, folder):
    head = {key: value for key, value in golden(name).items() if key in BY_HAND}
    text = pretty(head | found(name, head, folder)) + "\n"
    (FOLDER / (name + GOLDEN)).write_text(text, encoding="utf-8", newline="\n")


def pretty(value, indent=""):
    """JSON in which what fits into a line stands in one: a message a line, so that a diff shows what changed."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or not value or (indent and len(indent) + len(flat) < WIDTH):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{json.dumps(key, ensure_ascii=False)}: {pretty(each, inner)}" for key, each in value.items()]
    else:
        lines = [pretty(each, inner) for each in value]
    ends = "{}" if isinstance(value, dict) else "[]"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(lines) + f"\n{indent}{ends[1]}"


@pytest.mark.parametrize("name", NAMES)
def test_a_raw_file_becomes_what_its_golden_file_says(name, tmp_path):
    expected = golden(name)
    head = {key: value for key, value in expected.items() if key in BY_HAND}
    assert option_problems("d", head["dataset"]) == []
    assert head | found(name, head, tmp_path) == expected


def test_every_golden_file_has_its_raw_file():
    assert {path.name.removesuffix(GOLDEN) for path in FOLDER.glob(f"*{GOLDEN}")} == set(NAMES)


def shapes_there(name):
    return {shape.partition(" ")[0] for shape in golden(name).get("shapes", {})}


def test_every_shape_has_a_file():
    assert set(READERS) - set().union(*map(shapes_there, NAMES)) == set()


def test_every_check_of_ingest_has_a_file_and_a_check_that_it_has_not_is_none():
    checks = {reject["check"] for name in NAMES for reject in golden(name).get("rejects", [])}
    assert checks == set(INGEST)
    assert INGEST_CHECK in checks


def test_every_kind_has_a_file_of_its_own_and_one_of_each_other_that_can_become_it():
    natures = {
        "preference": "preference",
        "scored": "preference",
        "feedback": "kto",
        "verifiable": "grpo",
        "chatml": "sft",
    }
    there = {
        (natures.get(shape), golden(name)["dataset"]["kind"])
        for name in NAMES
        for shape in shapes_there(name)
        if golden(name).get("rows")
    }
    assert {(kind, kind) for kind in KINDS} | set(CONVERTERS) <= there


def test_every_container_has_a_file():
    there = {golden(name)["container"] for name in NAMES if "container" in golden(name)}
    plain = {"JSON lines", "a JSON array", "CSV", "Parquet", "Arrow"}
    assert {name.partition(" in ")[0] for name in there} == plain
    assert {name.partition(" in ")[2] for name in there} == {"", "gzip", "zstd", "ZIP"}


def test_every_option_of_reading_has_a_file():
    there = {key for name in NAMES for key in golden(name)["dataset"]}
    assert there == {
        "kind",
        "columns",
        "format",
        "system",
        "ground_truth_pattern",
        "reasoning",
        "pairs",
        "margin",
        "ignore",
    }


def test_every_key_of_a_shape_and_every_role_is_in_a_file():
    plain = [name for name in NAMES if golden(name).get("container") == "JSON lines"]
    text = "".join((FOLDER / name).read_text(encoding="utf-8", errors="replace") for name in plain)
    keys = {*turns.MARK_KEYS, *turns.REASONING_KEYS, *turns.TRUTH_KEYS, *turns.PROMPT_KEYS, *turns.ANSWER_KEYS}
    assert {key for key in keys if f'"{key}":' not in text} == set()
    assert {role for role in turns.ROLES if f'"{role}"' not in text} == set()


def test_pretty_json_says_the_same():
    value = {"a": [{"b": "x" * 80, "c": [1, {}]}, "y" * 80], "d": {}, "e": None}
    assert json.loads(pretty(value)) == value


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit("python tests/test_corpus.py --write [NAME ...]")
    for name in sys.argv[2:] or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            write(name, folder)
