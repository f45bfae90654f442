"""Conversations as prompt and completion: nothing is lost between the two columns."""

import json

import pyarrow as pa

from stages.rows.tables import row_schema, to_table
from stages.training.completions import last_answers

CALL = json.dumps([{"type": "function", "function": {"name": "f", "arguments": {}}}])
TALKS = [
    [("user", "a", None), ("assistant", "b", None)],
    [("system", "s", None), ("user", "a", None), ("assistant", "b", None), ("user", "c", None), ("assistant", "d", CALL)],
    [("assistant", "alone", None)],
]  # fmt: skip


def table():
    rows = [
        {"messages": [dict(zip(("role", "content", "tool_calls"), turn, strict=True)) for turn in talk], "tools": None, "id": str(i), "source": "r", "line": i}
        for i, talk in enumerate(TALKS)
    ]  # fmt: skip
    return to_table(rows, row_schema("sft"))


def test_prompt_and_completion_are_the_conversation():
    out = last_answers(table())
    assert "messages" not in out.column_names and {"id", "source", "line", "tools"} <= set(out.column_names)
    for row, talk in zip(out.to_pylist(), table().to_pylist(), strict=True):
        assert row["prompt"] == talk["messages"][:-1]
        assert row["completion"] == talk["messages"][-1:]


def test_a_part_of_a_table_is_taken_from_its_own_rows():
    parts = pa.concat_tables([table().slice(1), table().slice(0, 1)])
    assert (
        last_answers(parts).to_pylist() == last_answers(table()).to_pylist()[1:] + last_answers(table()).to_pylist()[:1]
    )


def test_trl_reads_the_calls_as_what_they_say():
    from datasets import Dataset

    rows = Dataset(last_answers(table()))
    assert rows[1]["completion"][0]["tool_calls"] == json.loads(CALL)
