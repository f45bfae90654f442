"""The fast way for plain conversations gives the very rows of the general way, or leaves a line to it."""

import json

import pytest

from stages.ingest import convert_records
from stages.reading.readers import record_of
from stages.rows.plain_conversations import SftColumns, plain_turns
from stages.rows.tables import row_schema, to_table

PLAIN = [
    {"messages": [{"role": "user", "content": "Reverse abc."}, {"role": "assistant", "content": "cba"}]},
    {
        "messages": [
            {"content": "Be brief.", "role": "system"},
            {"role": "human", "content": "É  a\n"},
            {"role": "gpt", "content": ""},
        ]
    },
    {"messages": [{"role": "narrator", "content": "\u0000 \ud83d\ude00"}], "id": 7},
    {
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b"},
            {"from": "observation", "value": "c"},
        ]
    },
    {"instruction": "Sum up.", "input": "Long text.", "output": "Short."},
    {"instruction": "Hello", "output": "Hi"},
    {"instruction": "", "input": "", "output": ""},
]
OTHER = [
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]},
    {"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "f"}]},
    {"messages": [{"role": "user", "content": "a"}], "label": True},
    {"messages": [{"role": "function_call", "content": "{}"}]},
    {"messages": []},
    {"messages": [{"role": "user"}]},
    {"conversations": [{"role": "user", "content": "a"}]},
    {"conversations": [{"from": "human", "value": "a"}], "messages": [{"role": "user", "content": "b"}]},
    {"instruction": "a", "input": None, "output": "b"},
    {"instruction": "a", "response": "b"},
    {"instruction": "a", "output": "b", "system": "c"},
    {"prompt": "a", "completion": "b"},
    {"messages": [{"role": "user", "content": 1}]},
    {"messages": "a"},
    {},
    [1],
]


@pytest.mark.parametrize("record", PLAIN, ids=json.dumps)
def test_a_plain_conversation_becomes_the_same_row_both_ways(record):
    line = json.dumps(record).encode()
    columns = SftColumns()
    columns.append(plain_turns(line)[0], 5)
    rows, rejects = convert_records([record_of(5, line)], "sft", "a.jsonl")
    assert not rejects
    assert columns.table("a.jsonl").equals(to_table(rows, row_schema("sft", keys=True)))


@pytest.mark.parametrize("record", OTHER, ids=json.dumps)
def test_any_other_record_is_left_to_the_general_way(record):
    assert plain_turns(json.dumps(record).encode()) is None


@pytest.mark.parametrize("value", [b'"\xff"', b"1e999", b'"\\ud800"', b"1" * 5000, b"[" * 5000 + b"]" * 5000])
def test_a_fault_in_a_field_that_says_nothing_is_seen_both_ways(value):
    line = b'{"messages": [{"role": "user", "content": "a"}], "other": %b}'
    assert plain_turns(line % b"1") is not None
    assert plain_turns(line % value) is None
    assert record_of(1, line % value).fault


def test_a_conversation_without_a_user_has_one_prompt_key_both_ways():
    line = b'{"messages": [{"role": "Narrator", "content": "A  b"}]}'
    columns = SftColumns()
    columns.append(plain_turns(line)[0], 1)
    rows, _ = convert_records([record_of(1, line)], "sft", "a")
    assert columns.prompt_keys == [rows[0]["prompt_key"]]


@pytest.mark.parametrize(
    "line", [b"", b"{", b'{"messages": [{"role": "user", "content": "\xff"}]}', b'{"a": NaN}', b"[" * 100_000]
)
def test_a_line_that_does_not_parse_is_left_to_the_general_way(line):
    assert plain_turns(line) is None


def test_rows_of_the_general_way_keep_their_place_and_their_tools():
    columns = SftColumns()
    columns.append(plain_turns(json.dumps(PLAIN[0]).encode())[0], 1)
    rows, _ = convert_records([record_of(2, json.dumps(OTHER[1] | {"tools": [{"name": "f"}]}).encode())], "sft", "a")
    columns.append_row(rows[0])
    columns.append(plain_turns(json.dumps(PLAIN[3]).encode())[0], 3)
    table = columns.table("a")
    assert table["line"].to_pylist() == [1, 2, 3]
    assert table.slice(1, 1).equals(to_table(rows, table.schema))
