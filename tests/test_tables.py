import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.rows.tables import (
    COLUMNS,
    REJECTS,
    conserve,
    open_writer,
    row_schema,
    safe_text,
    stop_if_too_many_rejects,
    to_table,
    used_message_keys,
    with_message_keys,
    write_table,
)
from validators.problems import Problems

ORIGIN = {"id": "5f0e", "source": "data/raw/chat.jsonl", "line": 12}
Q = {"role": "user", "content": "q", "tool_calls": None}
A = {"role": "assistant", "content": "a", "tool_calls": None}
CALLS = '[{"type":"function","function":{"name":"add","arguments":{"a":1}}}]'
ROWS = {
    "sft": {"messages": [Q, {"role": "assistant", "content": None, "tool_calls": CALLS}], "tools": '[{"name":"add"}]'},
    "preference": {"prompt": [Q], "chosen": [A], "rejected": [A]},
    "kto": {"prompt": [Q], "completion": [A], "label": False},
    "grpo": {"prompt": [Q], "ground_truth": "a", "extra": '{"level":3}'},
}


def reject(check, line=1, detail="the detail", raw="{}"):
    return {"id": None, "source": "raw", "line": line, "stage": "ingest", "check": check, "detail": detail, "raw": raw}


def rejects(*rows):
    return to_table(rows, REJECTS)


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_row_of_each_kind_comes_back_from_parquet(kind, tmp_path):
    table = to_table([ROWS[kind] | ORIGIN], row_schema(kind, optional=["tool_calls"]))
    write_table(tmp_path / "t.parquet", table)
    back = pq.read_table(tmp_path / "t.parquet")
    assert back.to_pylist() == [ROWS[kind] | ({} if kind == "grpo" else {"tools": None} | ROWS[kind]) | ORIGIN]
    assert back.schema.equals(table.schema)


@pytest.mark.parametrize("kind", COLUMNS)
def test_no_rows_make_an_empty_table_of_the_same_schema(kind):
    table = to_table([], row_schema(kind, keys=True))
    assert table.num_rows == 0
    assert table.schema.equals(row_schema(kind, keys=True))


def test_keys_are_columns_only_where_they_are_asked_for():
    extra = set(row_schema("sft", keys=True).names) - set(row_schema("sft").names)
    assert extra == {"prompt_key", "claim_key", "claim"}


def test_datasets_reads_tools_and_tool_calls_as_python_objects(tmp_path):
    plain = ROWS["sft"] | {"messages": [Q, A], "tools": None}
    write_table(
        tmp_path / "t.parquet",
        to_table([ROWS["sft"] | ORIGIN, plain | ORIGIN], row_schema("sft", optional=["tool_calls"])),
    )
    one, other = datasets.Dataset(pq.read_table(tmp_path / "t.parquet"))
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert one["tools"] == [{"name": "add"}]
    assert one["messages"][1] == {"role": "assistant", "content": None, "tool_calls": calls}
    assert other["tools"] is None
    assert other["messages"][1]["tool_calls"] is None


def test_messages_have_the_optional_keys_that_some_row_uses_and_no_others(tmp_path):
    thought = {"role": "assistant", "content": "a", "reasoning_content": "t", "train": False}
    rows = [{"messages": turns, "tools": None} | ORIGIN for turns in ([Q, thought], [Q, A])]
    for name, part in (("one", rows[1:]), ("two", rows)):
        write_table(tmp_path / name, to_table(part, row_schema("sft")))
    assert used_message_keys([tmp_path / "one"]) == []
    keys = used_message_keys([tmp_path / "one", tmp_path / "two"])
    assert keys == ["reasoning_content", "train"]
    for table in (to_table(rows, row_schema("sft")), to_table([], row_schema("sft"))):
        narrow = with_message_keys(table.slice(0), keys)
        assert narrow.schema.equals(row_schema("sft", optional=keys))
        assert narrow.num_rows == table.num_rows
    assert with_message_keys(to_table(rows, row_schema("sft")).slice(1), [])["messages"].to_pylist() == [
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    ]
    assert with_message_keys(to_table(rows, row_schema("sft")), keys)["messages"].to_pylist()[0][1] == thought


def test_the_same_rows_make_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_table(tmp_path / name, to_table([ROWS["sft"] | ORIGIN] * 100, row_schema("sft")))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# -- writing ------------------------------------------------------------------------------------------------------


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new/t.parquet"
    with open_writer(path, REJECTS) as writer:
        writer.write_table(rejects(reject("a")))
        assert not path.exists()
    assert pq.read_table(path).num_rows == 1
    assert [file.name for file in path.parent.iterdir()] == ["t.parquet"]


def test_writing_leaves_nothing_after_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / "t.parquet", REJECTS) as writer:
        writer.write_table(rejects(reject("a")))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_writing_that_fails_keeps_the_file_that_was_there(tmp_path):
    write_table(tmp_path / "t.parquet", rejects(reject("old")))
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / "t.parquet", REJECTS):
        raise ZeroDivisionError
    assert pq.read_table(tmp_path / "t.parquet")["check"].to_pylist() == ["old"]


# -- accounts -----------------------------------------------------------------------------------------------------


def test_an_account_that_balances_is_printed(capsys):
    conserve("curate", "chat", 1300, 100, train=1000, eval=200)
    assert capsys.readouterr().out == "curate chat: 1,300 in = 1,000 train + 200 eval + 100 rejected\n"


@pytest.mark.parametrize("records", [1299, 1301])
def test_an_account_that_does_not_balance_stops_the_build(records):
    with pytest.raises(AssertionError, match="rows were lost or made up"):
        conserve("curate", "chat", records, 100, train=1000, eval=200)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_rejects_up_to_the_limit_pass(count):
    stop_if_too_many_rejects("chat", rejects(*[reject("a")] * count), 100, 0.05)


def test_too_many_rejects_name_every_reason_with_three_samples_most_frequent_first():
    rows = [reject("rare.check", 9)] + [reject("common.check", line, raw='{"a": 1}') for line in range(1, 6)]
    with pytest.raises(Problems) as raised:
        stop_if_too_many_rejects("chat", rejects(*rows), 100, 0.05)
    (problem,) = raised.value.problems
    assert problem.where == "datasets.chat"
    assert problem.found == "6 of 100 records rejected (6.0%)"
    assert problem.expected.splitlines() == [
        "at most max_reject_share = 5.0%",
        "  common.check: 5",
        '    raw:1: the detail: {"a": 1}',
        '    raw:2: the detail: {"a": 1}',
        '    raw:3: the detail: {"a": 1}',
        "  rare.check: 1",
        "    raw:9: the detail: {}",
    ]
    assert "datasets.chat.max_reject_share" in problem.hint


def test_samples_show_no_control_characters_of_the_data():
    with pytest.raises(Problems) as raised:
        stop_if_too_many_rejects("chat", rejects(reject("a", raw="\x1b[31mred")), 1, 0.05)
    assert "\x1b" not in str(raised.value)
    assert "\\x1b[31mred" in str(raised.value)


def test_details_show_no_control_characters_of_the_data():
    with pytest.raises(Problems) as raised:
        stop_if_too_many_rejects("chat", rejects(reject("a", detail="messages[0] by '\x1b[31mred'")), 1, 0.05)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    "text, safe",
    [
        ("plain", "plain"),
        ("Käse 漢字 🎉", "Käse 漢字 🎉"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\0\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202eabc\u200b", "\\u202eabc\\u200b"),
        ("x" * 120, "x" * 120),
        ("x" * 121, "x" * 119 + "…"),
        ("x" * 20_000_000, "x" * 119 + "…"),
    ],
    ids=range(9),
)
def test_text_of_the_data_is_shown_safe_and_short(text, safe):
    assert safe_text(text) == safe


def test_json_columns_are_arrow_json():
    assert row_schema("sft").field("tools").type == pa.json_()
