"""Damaged files of every container: never a traceback, never a lost record, and both ways of reading agree.

Each example makes a file of 100 records, damages it in ways drawn from a seed, and reads it as `ingest` does.
"""

import contextlib
import datetime as dt
import gzip
import json
import random
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands import inspect
from commands.inspection.conversion import best_kind, convert_sample
from commands.inspection.sample import read_sample
from commands.inspection.sample_report import report_lines
from stages.ingest import general_table, plain_table, tables_of
from stages.reading.parts import parts_of
from stages.reading.readers import record_of
from stages.rows.checks import INGEST
from stages.rows.key_account import KeyAccount
from stages.rows.options import NO_OPTIONS, Options
from stages.rows.turns import KNOWN_KEYS
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
CALL = {"id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}
RESULT = {"role": "tool", "tool_call_id": "c", "name": "f", "content": "r"}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
FOUND = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}]}
BEDROCK = {"toolUse": {"toolUseId": "1", "name": "f", "input": {}}}
MORE_SEEDS = [
    {"messages": [TURNS[0], {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, USE]}, {"role": "user", "content": [FOUND]}]},
    {"messages": [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [BEDROCK]}, {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"json": {"a": 1}}]}}]}]},
    {"messages": [TURNS[0], {"role": "assistant", "content": "a", "weight": 0, "reasoning_content": "r", "tool_calls": [CALL]}, RESULT]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": '{"name": "f", "arguments": {}}'}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "<think>t</think>a"}], "tools": '[{"name": "f"}]'},
    {"conversation": [{"system": "s", "input": "q", "output": "a"}, {"input": "q", "output": "b", "train": False}]},
    {"question": "q", "options": ["x", "y"], "answer": 1},
    {"question": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"},
    {"question": "q", "options": {"A": "x", "B": "y"}, "answer_idx": "A", "explanation": "e"},
    {"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 2.5, "3"]},
    {"prompt": "q", "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]},
    {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 1},
    {"conversation_a": TURNS, "conversation_b": [TURNS[0], {"role": "assistant", "content": "no"}], "winner": "model_b"},
    {"instruction": "i", "instances": [{"input": "x", "output": "y"}, {"input": "", "output": "z"}]},
    {"input": "q", "target": ["a", "b"]},
    {"prompt": "q", "completion": "a", "reasoning": "r", "label": True, "weight": 1},
    {"messages": TURNS, "loss_mask": [0, 1]},
    {"prompt": TURNS[:1], "ground_truth": 5, "data_source": "x"},
    {"Body": "b", "Question": "q", "reward_model": {"ground_truth": "5"}, "items": [{"q": "a", "a": "b"}]},
    {"prompt": "q", "chosen": TURNS, "rejected": TURNS, "tools": [{"name": "f"}], "chosen_score": 3},
    {"prompt": {"role": "prompter", "text": "q", "replies": [{"role": "assistant", "text": "a", "rank": 0, "replies": []}, {"role": "assistant", "text": "b", "rank": 1, "deleted": False}]}},
    {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
    {"question": {"full_text": "q", "id": "1"}, "answer_0": "a", "answer_1": "b", "score_0": 1, "score_1": -0.5},
    {"question": "q", "context": "c", "answers": {"text": ["a", "b"], "answer_start": [0, 1]}},
    {"conversations": ["q", "a"]},
    {"question": "q", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answerKey": "B"},
]  # fmt: skip
DEEP = "[" * 3000 + "]" * 3000
ODD = [None, True, 0, -1, 10**30, 1e308, "", "x", [], {}, [[]], [{}], [None], {"role": "user"}, "\x00\x85\u2028", 3.5]
ODD += [{"content": "a"}, [1, 2], "[1]", "[[", '["a"]', {"type": "image"}, [{"type": "image"}], [["q", "a"]]]
ODDER = [
    *ODD, *MORE_SEEDS[0]["messages"], RESULT, CALL, USE, FOUND, BEDROCK, json.loads("[" * 60 + "]" * 60), False, 1.0, 10**400, 2**64,
    float("nan"), float("inf"), "true", "0", "9" * 5000, "\u0663", "tie", [1, None, "a"], [[["a"]]], {"": ""}, {"role": "assistant"},
    {"type": 5, "text": "a"}, {"type": ["x"]}, [{"type": {}}], [{"type": "tool_use"}], [USE | {"name": 5}], [USE | {"input": [1]}],
    [FOUND | {"tool_use_id": 5}], [FOUND | {"tool_use_id": [], "content": [{"json": 1}]}], [{"type": "thinking", "thinking": None}],
    [{"type": "text", "text": None}], [{"toolUse": 5}], [{"toolUse": {"toolUseId": {}, "name": "f"}}], [{"toolResult": {"toolUseId": {}}}],
    {"text": [1], "label": 5}, {"text": ["x"], "label": ["A", "B"]}, "<think>", "</think>", "<think>a</think>b", "\n</think>\n",
    "[{}]", '{"name": 1}', {"name": "f", "arguments": 5}, [{"function": {"name": "f", "arguments": "[1]"}}],
    "\n\nHuman: a\n\nAssistant: b", "Human:\n\nAssistant:", "\ud800",
]  # fmt: skip
ANY_KEY = [
    *sorted(KNOWN_KEYS), "image", "images", "options", "choices", "responses", "scores", "winner", "response_0", "response_1", "answerKey",
    "tool_call_id", "name", "train_detail", "function_call", "role", "from", "id", "type", "text", "value", "content",
]  # fmt: skip
FORMATS = (
    "alpaca",
    "scored",
    "compared",
    "multiple_choice",
    "preference",
    "seed",
    "feedback",
    "openai_preference",
    "input_output",
)
OPTIONS = [
    *(NO_OPTIONS for _ in range(10)),
    Options(columns={"prompt": ["Body", "Question"], "ground_truth": "reward_model.ground_truth"}),
    Options(columns={"prompt": "items[].q", "completion": "items[].a"}),
    Options(columns={"prompt": ["question", "options"], "completion": "answer"}),
    Options(columns={"prompt": "messages.role", "completion": "messages[].content"}),
    Options(columns={"messages": "conversations", "train": "weight", "reasoning_content": "explanation"}),
    *(Options(reasoning=which) for which in ("drop", "last_turn")),
    *(Options(pairs="all", margin=margin) for margin in (None, 1.0)),
    Options(ignore=("label", "answer"), system="S"),
    Options(format="verifiable", ground_truth_pattern="(.+)"),
    *(Options(format=shape) for shape in FORMATS),
]
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


def hostile(draw):
    """A record of any shape with one to five parts of it changed, each perhaps to a type that nobody expects there."""
    value = draw.choice(SEEDS + MORE_SEEDS)
    for _ in range(draw.choice([1, 1, 2, 3, 5])):
        other = swapped(value, draw)
        value = other if isinstance(other, dict) or draw.random() < 0.02 else value
    return value


def swapped(value, draw):
    """As `changed`, with any key that some shape knows, and with odder values."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key, chance = draw.choice(sorted(value)), draw.random()
        if chance < 0.15:
            return {name: held for name, held in value.items() if name != key}
        if chance < 0.3:
            return value | {draw.choice(ANY_KEY): draw.choice([value[key], draw.choice(ODDER)])}
        return value | {key: swapped(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        return [*value[:at], swapped(value[at], draw), *value[at + draw.randrange(2) :]]
    return draw.choice(ODDER)


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


def read(path, kind, options=NO_OPTIONS):
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


# -- hostile records --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@MANY
@given(st.integers(0, 2**32))
def test_a_hostile_record_ends_as_rows_or_as_one_reject_with_a_named_check(kind, seed):
    draw = random.Random(seed)
    for line in range(1, 11):
        record, options = record_of(line, json.dumps(hostile(draw)).encode()), draw.choice(OPTIONS)
        rows, rejects, _ = general_table([record], kind, "a.jsonl", options)
        checks = rejects["check"].to_pylist()
        assert bool(rows.num_rows) != bool(checks), record.raw
        assert len(checks) <= 1 and set(checks) <= INGEST.keys(), record.raw


def inspect_as_a_build(path, draw, records, capsys):
    """Write hostile records; assert that inspect says of them what a build does with them, in plain text or Problems."""
    path.write_bytes(b"".join(json.dumps(hostile(draw)).encode() + b"\n" for _ in range(records)))
    found = read_sample(path)
    for kind in KINDS:
        (part,) = parts_of(path)
        account = KeyAccount()
        tables = list(tables_of(part, kind, NO_OPTIONS, account))
        checked = convert_sample(found, kind)
        assert checked["table"].num_rows == sum(rows.num_rows for rows, _, _ in tables)
        assert found["kinds"][kind] == len({line for rows, _, _ in tables for line in rows["line"].to_pylist()})
        assert checked["account"] == account
    with (
        contextlib.chdir(path.parent),
        contextlib.suppress(Problems),
    ):  # where no base is built, whose tokens would be counted
        inspect.main(SimpleNamespace(obj=None), str(path))
    said = capsys.readouterr().out
    assert {letter for letter in said if not letter.isprintable()} <= {"\n"}
    said.encode()


@pytest.mark.parametrize("seed", range(10))
def test_inspect_says_of_hostile_records_what_a_build_does_with_them(tmp_path, seed, capsys):
    inspect_as_a_build(tmp_path / "hostile.jsonl", random.Random(seed), 30, capsys)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(250))
def test_inspect_says_of_many_hostile_records_what_a_build_does_with_them(tmp_path, seed, capsys):
    inspect_as_a_build(tmp_path / "hostile.jsonl", random.Random(2000 + seed), 250, capsys)


@MANY
@given(st.integers(0, 2**32))
def test_the_fast_way_counts_the_same_keys_and_takes_the_same_marks_and_thoughts(seed):
    draw = random.Random(seed)
    tails = ["a", "<think>t</think>a", "</think>", "t\n</think>\na", "<b>", "think>", "\u00e9", ""]
    ways = [json.dumps, lambda value: json.dumps(value, ensure_ascii=False)]
    ways += [
        lambda value: json.dumps(value).replace("<", "\\u003c"),
        lambda value: json.dumps(value).replace("k>", "\\u006b>"),
    ]
    lines = []
    for number in range(1, 51):
        said = draw.choice(tails)
        record = draw.choice(
            [
                {"messages": [TURNS[0], {"role": draw.choice(["assistant", "gpt", "user"]), "content": said}]},
                {
                    "conversations": [
                        {"from": "human", "value": said},
                        {"from": draw.choice(["gpt", "model"]), "value": said},
                    ]
                },
                {"instruction": said, "input": draw.choice(tails), "output": said},
            ]
        )
        for _ in range(draw.choice([0, 1, 1, 3])):
            record[draw.choice([*ANY_KEY, "source", "hint", "n"])] = draw.choice(ODDER)
        lines.append((number, draw.choice(ways)(record).encode(errors="surrogatepass")))
    fast, general = KeyAccount(), KeyAccount()
    table = plain_table(lines, "a.jsonl", NO_OPTIONS, fast)
    assert table == general_table([record_of(*line) for line in lines], "sft", "a.jsonl", NO_OPTIONS, general)
    assert fast == general


# -- typed tables -----------------------------------------------------------------------------------------------------

TYPED = {
    "moments": pa.array([dt.datetime(2026, 1, 1, 12), None], pa.timestamp("ns")),
    "moments in a zone": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 2, pa.timestamp("us", "UTC")),
    "spans": pa.array([1, 2], pa.duration("ns")),
    "days": pa.array([dt.date(2026, 1, 1)] * 2),
    "times": pa.array([dt.time(1)] * 2),
    "decimals": pa.array([Decimal("1.50"), Decimal("2")], pa.decimal128(10, 2)),
    "a dictionary": pa.array(["a", "b"]).dictionary_encode(),
    "large texts": pa.array(["a", "b"], pa.large_string()),
    "lists": pa.array([["x", "y"], None], pa.large_list(pa.string())),
    "lists of two": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)),
    "bytes": pa.array([b"\xff", b"a"]),
    "maps": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
    "nulls": pa.nulls(2),
    "structs": pa.array([{"a": None, "b": {"c": 1}}, None]),
    "large numbers": pa.array([2**64 - 1, 0], pa.uint64()),
    "half floats": pa.array([1.5, 2.5], pa.float32()).cast(pa.float16()),
}
TWO = pa.array(["q", "r"])
TYPED_RECORDS = [
    {"question": TWO, "answer": None},
    {"prompt": None, "completion": None},
    {"prompt": TWO, "completion": TWO, "other": None},
    {"prompt": None, "chosen": None, "rejected": None},
    {"prompt": TWO, "completion": TWO, "label": None},
    {"messages": None},
    {"question": TWO, "options": pa.array([["x", "y"]] * 2), "answer": None},
    {"question": TWO, "options": None, "answer": TWO},
    {"prompt": TWO, "responses": pa.array([["x", "y"]] * 2), "scores": None},
    {"prompt": TWO, "response_0": TWO, "response_1": TWO, "better_response_id": None},
    {"prompt": TWO, "ground_truth": TWO, "extra_info": None},
]


@pytest.mark.parametrize("typed", TYPED)
def test_a_column_of_any_type_gives_rows_or_rejects_of_each_record(tmp_path, typed):
    path = tmp_path / "typed.arrow"
    for columns in TYPED_RECORDS:
        table = pa.table({name: TYPED[typed] if values is None else values for name, values in columns.items()})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
        for kind in KINDS:
            accepted, refused, checks, seen = read(path, kind)
            assert (accepted | set(refused), seen) == ({1, 2}, 2)
            assert set(checks) <= INGEST.keys()
        with contextlib.chdir(tmp_path), contextlib.suppress(Problems):
            found = read_sample(path)
            list(report_lines(found, *best_kind(found)))


def test_column_names_that_are_not_utf8_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,answer,h\xe9\nq,a,b\n")
    with pytest.raises(Problems, match=r"not UTF-8: question,answer,h.xe9"):
        list(tables_of(*parts_of(path), "grpo"))


def test_ground_truths_that_are_null_are_named_by_inspect(tmp_path):
    path = tmp_path / "g.jsonl"
    path.write_text('{"question": "q", "answer": null}\n{"question": "r", "answer": null}\n')
    found = read_sample(path)
    assert [reject["check"] for reject in convert_sample(found, "grpo")["rejects"]] == ["grpo.ground_truth_present"] * 2
