"""Damaged files of every container: never a traceback, never a lost record, and both ways of reading agree.

Each example makes a file of 100 records, damages it in ways drawn from a seed, and reads it as `ingest` does.
"""

import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.ingest import general_table, plain_table, tables_of
from stages.reading.parts import parts_of
from stages.reading.readers import record_of
from stages.rows.options import NONE
from validators.problems import Problems

RECORDS = 100
KINDS = ("sft", "preference", "kto", "grpo")
TURNS = [{"role": "user", "content": "Grüße?"}, {"role": "assistant", "content": "Ja \U0001f600\n"}]
SEEDS = [
    {"messages": TURNS},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
    {"instruction": "q", "input": "x", "output": "a"},
    {"prompt": "q", "completion": "a"},
    {"query": "q", "response": "a", "history": [["h", "i"]]},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    {"messages": TURNS, "label": True},
    {"question": "q", "context": "c", "answer": "a"},
    {"messages": TURNS, "tools": [{"name": "f"}]},
    {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]},
    {"input": {"messages": TURNS[:1]}, "preferred_output": TURNS[1:], "non_preferred_output": TURNS[1:]},
]
DEEP = "[" * 3000 + "]" * 3000
ODD = [None, True, 0, -1, 10**30, 1e308, "", "x", [], {}, [[]], [{}], [None], {"role": "user"}, "\x00\x85\u2028", 3.5]
ODD += [{"content": "a"}, [1, 2], "[1]", "[[", '["a"]', {"type": "image"}, [{"type": "image"}], [["q", "a"]]]
RAW = [
    b"NaN",
    b"1e999",
    b"-",
    b"1" * 5000,
    b'"\\ud800"',
    b'"\xff\xfe"',
    b'"a\x00b"',
    b"[",
    b'"\r"',
    DEEP.encode(),
    b"{}",
]
BYTES = [b"\x00", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b"\xff", b"\t"]
MANY = settings(
    max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip


def changed(value, draw):
    """A value with one part of it swapped for another type, dropped, doubled, or put under another key."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(sorted(value))
        if draw.random() < 0.25:
            return {k: v for k, v in value.items() if k != key}
        if draw.random() < 0.2:
            return value | {draw.choice(sorted(draw.choice(SEEDS))): value[key]}
        return value | {key: changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return [*value[:at], changed(value[at], draw), *value[at + draw.randrange(2) :]]
    return draw.choice(ODD)


def damaged(data, draw):
    """Bytes with a few of them flipped, cut out, put in or swapped."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(data) or 1)
        match draw.randrange(5):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
            case 1:
                del data[at : at + draw.choice([1, 3, 30])]
            case 2:
                data[at:at] = draw.choice(BYTES)
            case 3:
                data[at:] = b""
            case _:
                data[at : at + 1] = draw.choice(RAW)
    return bytes(data)


def made(draw):
    """Records, about half of them changed."""
    found = [draw.choice(SEEDS) for _ in range(RECORDS)]
    return [changed(value, draw) if draw.random() < 0.5 else value for value in found]


def encoded(value):
    return json.dumps(value, ensure_ascii=False).encode()


def json_lines(draw):
    lines = [encoded(value) for value in made(draw)]
    lines = [damaged(line, draw) if draw.random() < 0.3 else line for line in lines]
    return b"".join(line + draw.choice([b"\n", b"\n", b"\r\n", b"\n\n"]) for line in lines)


def json_array(draw):
    lines = [encoded(value) for value in made(draw)]
    lines = [damaged(line, draw) if draw.random() < 0.02 else line for line in lines]
    between = draw.choice([b",", b",\n", b",\r\n  "])
    return draw.choice([b"[", b"[\n", b"[\r\n  "]) + between.join(lines) + draw.choice([b"]", b"\n]\n", b",]"])


def table(draw):
    rows = [f'"q {i}",{draw.choice(["a", "", chr(34) + "x" * 9 + chr(34)])}'.encode() for i in range(RECORDS)]
    rows = [damaged(row, draw) if draw.random() < 0.1 else row for row in rows]
    end = draw.choice([b"\n", b"\r\n"])
    return end.join([b"prompt,completion", *rows]) + end


def parquet(draw):
    columns = {key: draw.choice(["text", "json"]) for key in draw.choice(SEEDS)}
    rows = [{key: draw.choice(["q", None, '[["a","b"]]']) for key in columns} for _ in range(RECORDS)]
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=draw.choice([7, 1000]))
    return out.getvalue().to_pybytes()


CONTAINERS = {"json lines": json_lines, "array": json_array, "csv": table, "parquet": parquet}
PACKED = {"plain": bytes, "gzip": lambda data: gzip.compress(data, 1), "zstd": zstandard.ZstdCompressor().compress}


def read(path, kind, options=NONE):
    """(lines of rows, lines of rejects, checks, records counted) of a file, or None where Problems refuse it."""
    accepted, refused, checks, seen = set(), [], [], 0
    try:
        for part in parts_of(path, part_bytes=4096):
            for rows, rejects, shapes in tables_of(part, kind, options):
                accepted |= set(rows["line"].to_pylist())
                refused += rejects["line"].to_pylist()
                checks += rejects["check"].to_pylist()
                seen += sum(shapes.values())
    except Problems as error:
        assert all(problem.where and problem.found for problem in error.problems)
        return None
    return accepted, refused, checks, seen


def conserved(found):
    """Assert that each record is a row or a reject, and never both."""
    accepted, refused, _, seen = found
    assert not accepted & set(refused)
    assert len(set(refused)) == len(refused)
    assert len(accepted) + len(refused) == seen


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("container", CONTAINERS)
@settings(MANY, max_examples=25)
@given(st.integers(0, 2**32))
def test_a_damaged_file_loses_no_record_and_gives_no_traceback(tmp_path_factory, container, packed, seed):
    draw = random.Random(seed)
    data = PACKED[packed](CONTAINERS[container](draw))
    if draw.random() < 0.3:
        data = damaged(data, draw)
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data)
    if found := read(path, draw.choice(KINDS)):
        conserved(found)


@MANY
@given(st.integers(0, 2**32))
def test_every_line_that_is_not_blank_is_in_the_account(tmp_path_factory, seed):
    draw = random.Random(seed)
    data = json_lines(draw)
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(data)
    if found := read(path, draw.choice(KINDS)):
        conserved(found)
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert found[0] | set(found[1]) == {n for n, line in enumerate(lines, 1) if line.strip()}


@MANY
@given(st.integers(0, 2**32))
def test_the_fast_way_and_the_general_way_give_the_same_rows_and_rejects(seed):
    lines = [(n, line) for n, line in enumerate(json_lines(random.Random(seed)).split(b"\n"), 1) if line.strip()]
    fast = plain_table(lines, "a.jsonl")
    general = general_table([record_of(*line) for line in lines], "sft", "a.jsonl")
    assert fast[0].equals(general[0])
    assert fast[1].equals(general[1])
    assert fast[2] == general[2]


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
@MANY
@given(st.integers(0, 2**32))
def test_a_packed_file_that_is_cut_keeps_the_whole_lines_before_the_cut(tmp_path_factory, packed, seed):
    draw = random.Random(seed)
    lines = [encoded({"prompt": str(draw.random()), "completion": "a"}) for _ in range(RECORDS)]
    whole = PACKED[packed](b"\n".join(lines) + b"\n")
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(whole[: draw.randrange(2, len(whole))])
    if found := read(path, "sft"):
        conserved(found)
        accepted, refused, checks, _ = found
        assert checks == ["ingest.truncated"]
        assert accepted == set(range(1, refused[0]))


@pytest.mark.parametrize("data", [b'{"prompt": "%b", "completion": "a"}\n', b'[{"prompt": "%b", "completion": }, 5]'])
@pytest.mark.parametrize("packed", PACKED)
def test_a_record_of_20_mb_is_one_record(tmp_path, data, packed):
    path = tmp_path / "long"
    path.write_bytes(PACKED[packed](data % random.Random(0).randbytes(10_000_000).hex().encode()))
    found = read(path, "sft")
    conserved(found)
    assert found[3] == (1 if data.endswith(b"\n") else 2)
