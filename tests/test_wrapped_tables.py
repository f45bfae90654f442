"""Tables that are one JSON object are read record by record; an object that is a record stays one."""

import json

import pytest

from stages.ingest import convert_records, lost_key_problems
from stages.reading.containers import detect_container
from stages.reading.readers import records
from stages.reading.wrapped_tables import records_in
from stages.rows.key_account import KeyAccount, LostKey
from stages.rows.options import Options
from stages.rows.rejects import describe_canary

ROWS = [{"input": "q", "target": "a"}, {"input": "r", "target": "b"}]
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
COLUMNS = {"input": {"0": "q", "1": "r"}, "target": {"0": "a", "1": "b"}}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("value", [{"canary": "c", "examples": ROWS}, {"version": 1, "data": ROWS}, COLUMNS])
def test_the_records_of_a_table_that_is_one_object_are_read(tmp_path, value, indent):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(value, indent=indent) + "\n")
    assert detect_container(path) == "json"
    found = list(records(path))
    assert [record.value for record in found] == ROWS
    assert [(record.line, json.loads(record.raw)) for record in found] == list(enumerate(ROWS, 1))


@pytest.mark.parametrize(
    "value",
    [
        {"messages": TURNS},
        {"instruction": "i", "instances": [{"input": "x", "output": "y"}]},
        {"data": ["a", "b"], "q": "x"},
        {"examples": ROWS, "messages": TURNS},
        {"data": []},
        {"a": {"x": 1}, "b": {"x": 2}},
        {"a": {"0": 1, "1": 2}, "b": {"0": 1}},
        {"a": {}},
        {},
    ],
)
def test_an_object_that_is_a_record_stays_one(tmp_path, value):
    assert records_in(value) is None
    path = tmp_path / "t.json"
    path.write_text(json.dumps(value) + "\n")
    assert [record.value for record in records(path)] == [value]


def test_lines_of_objects_are_lines_whatever_the_first_holds(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text((json.dumps({"data": ROWS}) + "\n") * 2)
    assert detect_container(path) == "jsonl"
    assert len(list(records(path))) == 2


def account_of(path, value, **options):
    path.write_text(json.dumps(value))
    account = KeyAccount()
    rows, _ = convert_records(records(path), "sft", path.name, Options(**options), account)
    assert len(rows) == 2
    return account


def test_what_stands_beside_the_records_is_counted(tmp_path):
    account = account_of(tmp_path / "t.json", {"canary": "c", "version": 1, "notes": [], "examples": ROWS})
    assert account.unused == {"canary (beside the records)": 1, "version (beside the records)": 1}
    assert not account.lost


def test_a_system_text_beside_the_records_is_lost_to_all_of_them(tmp_path):
    value = {"system": "Answer in French.", "data": ROWS}
    (lost,) = account_of(tmp_path / "t.json", value).lost.items()
    assert lost == ("system (beside the records)", LostKey("prompt", 1, "Answer in French."))
    assert not account_of(tmp_path / "t.json", value, ignore=("system (beside the records)",)).lost
    (problem,) = lost_key_problems("d", {"t.json": account_of(tmp_path / "t.json", value)})
    assert problem.hint == (
        "system: <that text> puts it before the turns of every row; "
        'if it may be left out, ignore: ["system (beside the records)"]'
    )


def test_nothing_stands_beside_columns(tmp_path):
    assert not account_of(tmp_path / "t.json", COLUMNS).unused


def test_records_of_a_benchmark_are_told_by_their_canary(tmp_path):
    (asks,) = {
        describe_canary(account_of(tmp_path / f"{key}.json", {key: "BENCHMARK DATA", "examples": ROWS}).unused)
        for key in ("canary", "canary_guid")
    }
    assert asks.startswith("these are records of a benchmark")
    assert describe_canary({"canary": 3}) == asks and describe_canary({"canaries": 3, "bird canary": 1}) == ""
