import pytest

from commands.checks.row_ids import read_rejects, read_rows, row_problems
from docs.generate import sample_records
from stages.dedup.split import on_eval_side, split_key
from stages.rows.identity import identify
from stages.rows.shapes import rows_of
from stages.rows.tables import COLUMNS, REJECTS, row_content, row_schema, to_table
from stages.rows.values import ENCODE

SAMPLES = list(sample_records())
NEVER, ALWAYS = (7, 0.0, ()), (7, 1.0, ())
ASKED = {"role": "user", "content": "What is 1 + 1?", "tool_calls": None}

ADD, THINKS = {"name": "add", "arguments": '{"b": 1, "a": 1}'}, "<think>\nOne more.\n</think>\n2"
CALLED = [
    ASKED,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "function": ADD}, {"id": "c2", "function": ADD}],
    },
    {"role": "tool", "name": "add", "tool_call_id": "c2", "content": "2"},
    {"role": "tool", "name": "add", "tool_call_id": "c1", "content": "2"},
]
TOOLS = '[{"name": "add", "parameters": {"b": {}, "a": {}}}]'
RICH = [
    ("all of a message", "sft", {"messages": [*CALLED, {"role": "assistant", "content": THINKS, "weight": 0}], "tools": TOOLS}),
    ("a pair", "preference", {"prompt": CALLED, "chosen": THINKS, "rejected": "3", "tools": TOOLS}),
    ("a rating", "kto", {"prompt": CALLED, "completion": THINKS, "label": True, "tools": TOOLS}),
    ("a truth", "grpo", {"prompt": [ASKED], "ground_truth": 2.0, "z": {"b": 1, "a": [1.5, None]}}),
]  # fmt: skip


def made(kind, record):
    """The first row of a record as ingest writes it."""
    row = rows_of(record, kind)[0]
    return row | identify(row, kind) | {"source": "raw.jsonl", "line": 3}


@pytest.mark.parametrize(("name", "kind", "record"), SAMPLES + RICH)
def test_the_id_of_every_sample_is_made_again_from_its_table(name, kind, record):
    table = to_table([made(kind, record)] * 2, row_schema(kind, keys=True))
    found = list(read_rows(table.to_batches()[0], kind))
    assert len(found) == 2
    assert [row_problems(origin, row, "rows", kind, NEVER) for origin, row in found] == [[], []]


@pytest.mark.parametrize(("name", "kind", "record"), SAMPLES + RICH)
def test_the_id_of_every_sample_is_made_again_from_its_reject(name, kind, record):
    row = made(kind, record)
    raw = ENCODE(row_content(row, kind)).decode()
    reject = {"stage": "curate", "check": "curate.duplicate", "detail": "", "raw": raw}
    table = to_table([{key: row[key] for key in ("id", "source", "line")} | reject], REJECTS)
    ((origin, said),) = read_rejects(table.to_batches()[0])
    assert row_problems(origin, said, "rejected", kind, NEVER) == []
    assert row_problems(origin, said | {next(iter(said)): []}, "rejected", kind, NEVER)


@pytest.mark.parametrize("raw", [None, "", "{", "[]", '{"messages": 3}'])
def test_a_reject_whose_text_makes_no_row_is_wrong(raw):
    reject = {"id": "11aa", "source": "a", "line": 1, "stage": "curate", "check": "curate.duplicate", "detail": ""}
    ((origin, said),) = read_rejects(to_table([reject | {"raw": raw}], REJECTS).to_batches()[0])
    ((_, where, found, _),) = row_problems(origin, said, "rejected", "sft", NEVER)
    assert (where, found) == ("row 11aa (a:1)", "its content has the id nothing")


def test_a_row_must_be_on_the_side_of_its_prompt():
    row = made("grpo", {"prompt": "What is 1 + 1?", "ground_truth": "2"})
    content = {key: row[key] for key in COLUMNS["grpo"]}
    sides = {
        (room, share): row_problems(row, content, room, "grpo", share)
        for room in ("train", "eval")
        for share in (NEVER, ALWAYS)
    }
    assert [key for key, problems in sides.items() if problems] == [("train", ALWAYS), ("eval", NEVER)]


def test_a_row_is_on_the_side_of_its_system_turn_too_where_the_dataset_splits_on_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = made("grpo", {"prompt": [{"role": "system", "content": "Be brief."}, ASKED], "ground_truth": "2"})
    content = {key: row[key] for key in COLUMNS["grpo"]}
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pinned.txt").write_text(split_key(row["prompt_key"], "Be brief.", ["system", "user"]))
    assert row_problems(row, content, "eval", "grpo", (7, 0.0, ["system", "user"])) == []
    assert row_problems(row, content, "train", "grpo", (7, 0.0, ["system", "user"]))
    assert row_problems(row, content, "train", "grpo", (7, 0.0, ["user"])) == []


def test_the_side_is_that_of_the_query_of_curate():
    import duckdb

    query = "SELECT ('0x' || substr(sha256(? || ':' || ?), 1, 8))::UBIGINT / 4294967296 < ?"
    keys = [
        identify({"messages": [ASKED | {"content": str(i)}], "tools": None}, "sft")["prompt_key"] for i in range(200)
    ]
    theirs = [duckdb.execute(query, ["7", key, 0.15]).fetchone()[0] for key in keys]
    assert [on_eval_side(key, 7, 0.15) for key in keys] == theirs
    assert 10 < sum(theirs) < 60


def test_what_was_deleted_on_request_needs_no_text():
    reject = {"id": "11aa", "source": "a", "line": 1, "stage": "curate", "detail": "", "raw": None}
    table = to_table([reject | {"check": "curate.forgotten"}], REJECTS)
    assert list(read_rejects(table.to_batches()[0])) == []
