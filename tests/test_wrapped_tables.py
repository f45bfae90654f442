"""Tables that are one JSON object are read record by record; an object that is a record stays one."""

import json

import pytest

from stages.reading.containers import detect_container
from stages.reading.readers import records
from stages.reading.wrapped_tables import records_in

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
