"""NaN, which Python writes into JSON: it costs no row where no row says it, and is named where one would."""

import math

import pytest

from stages.ingest import convert_records
from stages.reading.containers import detect_container
from stages.reading.json_values import decode_json, non_finite_places
from stages.reading.readers import record_of, records


def made(kind, raw):
    rows, rejects = convert_records([record_of(1, raw)], kind, "raw.jsonl")
    assert len(rows) + len(rejects) == 1
    return (rows or [None])[0], (rejects or [None])[0]


def test_nan_is_read_as_python_writes_it():
    assert math.isnan(decode_json(b'{"a": NaN}')["a"])
    assert decode_json(b'{"a": [-Infinity]}') == {"a": [-math.inf]}


@pytest.mark.parametrize("raw", [b'{"a": NaN', b'{"a": nan}', b'{"a": NaN, "b": "\\ud800"}', b'{"NaN": 1, "b": .5}'])
def test_what_is_no_json_for_another_reason_is_none(raw):
    assert record_of(1, raw).fault[0] == "ingest.json"


def test_a_file_of_json_lines_with_nan_keeps_its_lines(tmp_path):
    (tmp_path / "raw").write_bytes(b'{"a": NaN}\n\n{"a": NaN}\n')
    assert detect_container(tmp_path / "raw") == "jsonl"
    assert [record.line for record in records(tmp_path / "raw")] == [1, 3]


@pytest.mark.parametrize(
    "kind, raw",
    [
        ("sft", b'{"instruction": "q", "output": "a", "score": NaN}'),
        ("sft", b'{"instruction": "q", "output": "a", "meta": {"score": [NaN]}}'),
        ("grpo", b'{"prompt": "q", "ground_truth": "2", "level": NaN}'),
        ("grpo", b'{"prompt": "q", "ground_truth": "NaN"}'),
    ],
)
def test_nan_in_a_field_that_no_row_says_costs_no_row(kind, raw):
    row, _ = made(kind, raw)
    assert row is not None


@pytest.mark.parametrize(
    "kind, raw, place",
    [
        ("sft", b'{"instruction": "q", "output": NaN}', "output is NaN"),
        ("sft", b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": NaN}]}',
         "messages[1].content is NaN"),
        ("kto", b'{"prompt": "q", "completion": "a", "label": NaN}', "label is NaN"),
        ("grpo", b'{"prompt": "q", "ground_truth": NaN}', "ground_truth is NaN"),
        ("grpo", b'{"prompt": "q", "ground_truth": -Infinity}', "ground_truth is Infinity"),
        ("sft", b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": '
         b'[{"type": "function", "function": {"name": "f", "arguments": {"x": NaN}}}]}]}',
         "messages[1].tool_calls[0].function.arguments.x is NaN"),
    ],
)  # fmt: skip
def test_nan_that_a_row_would_say_is_named(kind, raw, place):
    _, reject = made(kind, raw)
    assert reject["detail"].endswith(place)
    assert "NaN" in reject["raw"] or "Infinity" in reject["raw"]


def test_nan_of_a_parquet_file_is_seen_too(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt": ["q", "q"], "ground_truth": [math.nan, 2.0]}), tmp_path / "raw")
    rows, rejects = convert_records(list(records(tmp_path / "raw")), "grpo", "raw")
    assert [row["ground_truth"] for row in rows] == ["2"]
    assert rejects[0]["detail"].endswith("ground_truth is NaN")


def test_places_are_those_of_the_value():
    assert non_finite_places({"a": [1.0, math.inf], "b": {"c": math.nan}}) == ["a[1] is Infinity", "b.c is NaN"]


def test_the_nulls_of_parquets_structs_are_no_keys(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    tools = [
        {"name": "a", "parameters": {"x": {"type": "string"}}},
        {"name": "b", "parameters": {"y": {"type": "number"}}},
    ]
    rows = [
        {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "train": False}],
            "tools": tools,
            "z": None,
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (record,) = records(tmp_path / "t.parquet")
    assert record.value == rows[0]
