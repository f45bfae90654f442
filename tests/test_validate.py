import importlib
import json

import pyarrow.parquet as pq
import pytest
from builds import write_params

from stages import validate
from stages.rows.identity import identify
from stages.rows.tables import REJECTS, row_schema, to_table, write_table
from stages.validate import examine_table
from validators import sft
from validators.problems import Problems

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
EMPTY = {"role": "assistant", "content": ""}


def chat(line, *messages):
    row = {"messages": [turn | {"tool_calls": None} for turn in messages], "tools": None}
    return row | identify(row, "sft") | {"source": "raw.jsonl", "line": line}


def rejects_of(*rows):
    return examine_table(to_table(rows, row_schema("sft", keys=True)), sft)[0].to_pylist()


def test_right_rows_are_not_rejected():
    assert rejects_of(chat(1, Q, A), chat(2, Q, A)) == []


def test_a_reject_says_which_row_and_why():
    wrong = chat(7, Q, EMPTY)
    (reject,) = rejects_of(chat(1, Q, A), wrong)
    assert reject == {
        "id": wrong["id"],
        "source": "raw.jsonl",
        "line": 7,
        "stage": "validate",
        "check": "sft.non_empty_turns",
        "detail": "messages[1] by 'assistant': expected that every turn says something",
        "raw": json.dumps({"messages": [Q, EMPTY], "tools": None}, separators=(",", ":")),
    }


def test_a_row_that_fails_several_checks_is_rejected_once_by_the_first_with_all_details():
    (reject,) = rejects_of(chat(1, Q, Q, EMPTY, Q))
    assert reject["check"] == "sft.non_empty_turns"
    assert reject["detail"] == (
        "messages[2] by 'assistant': expected that every turn says something; "
        "messages[1] by 'user': expected that after an optional system turn, user and assistant take turns, the user first; "
        "messages[3] by 'user': expected that the last turn is the assistant's"
    )


def test_an_unknown_role_is_named_before_the_order_that_it_breaks():
    (reject,) = rejects_of(chat(1, {"role": "narrator", "content": "q"}, A))
    assert reject["check"] == "sft.known_roles"


def test_rejects_come_in_the_order_of_the_rows():
    rows = [chat(line, *([Q] if line % 2 else [Q, A])) for line in range(1, 8)]
    assert [reject["line"] for reject in rejects_of(*rows)] == [1, 3, 5, 7]


@pytest.mark.parametrize("kind", ["sft", "preference", "kto", "grpo"])
def test_no_rows_have_no_rejects_of_the_right_schema(kind):
    table, _ = examine_table(to_table([], row_schema(kind, keys=True)), importlib.import_module(f"validators.{kind}"))
    assert table.num_rows == 0
    assert table.schema.equals(REJECTS)


# -- the stage ----------------------------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs validate over ingested rows and rejects; gives the rejects that it writes."""
    monkeypatch.chdir(tmp_path)

    def build(rows, rejects=(), limit=1):
        write_params(f"datasets: {{chat: {{kind: sft, raw: raw.jsonl, max_reject_share: {limit}}}}}")
        write_table("data/ingested/chat/rows/00000.parquet", to_table(rows, row_schema("sft", keys=True)), "none")
        write_table("data/ingested/chat/rejects.parquet", to_table(rejects, REJECTS), "none")
        validate.main("chat")
        return pq.read_table("data/validated/chat.parquet").to_pylist()

    return build


def test_the_stage_writes_the_rejects_alone(build, capsys):
    assert [reject["line"] for reject in build([chat(1, Q, A), chat(2, Q), chat(3, Q, A)])] == [2]
    assert "validate chat: 3 in = 2 rows + 1 rejected" in capsys.readouterr().out


def test_the_stage_looks_at_every_batch(build, monkeypatch):
    monkeypatch.setattr(validate, "BATCH_ROWS", 2)
    rows = [chat(line, *([Q] if line in (2, 5) else [Q, A])) for line in range(1, 6)]
    assert [reject["line"] for reject in build(rows)] == [2, 5]


def test_the_stage_bears_a_dataset_without_rows(build):
    assert build([]) == []


def test_the_limit_counts_what_ingest_rejected_and_leaves_no_file(build, tmp_path):
    before = {"id": None, "source": "raw.jsonl", "line": 9, "stage": "ingest", "check": "c", "detail": "d", "raw": "r"}
    rows = [chat(line, Q, A) for line in range(1, 9)] + [chat(10, Q)]
    assert len(build(rows, [before], limit=0.2)) == 1
    (tmp_path / "data/validated/chat.parquet").unlink()
    with pytest.raises(Problems, match=r"2 of 10 records rejected \(20\.0%\)"):
        build(rows, [before], limit=0.19)
    assert not (tmp_path / "data/validated/chat.parquet").exists()


def test_the_stage_prints_what_is_unusual_and_keeps_it_in_the_metadata(build, tmp_path, capsys):
    build([chat(line, {"role": "user", "content": "caf\ufffd"}, A) for line in (1, 2)])
    assert "warning: sft.repeated_prompts: 50.0% of 2 prompts repeat an earlier one" in capsys.readouterr().out
    kept = json.loads(pq.read_schema(tmp_path / "data/validated/chat.parquet").metadata[b"warnings"])
    assert kept == {
        "sft.mojibake": "2 of 2 rows have text that was read in a wrong encoding",
        "sft.repeated_prompts": "50.0% of 2 prompts repeat an earlier one",
    }


def test_what_was_rejected_is_in_no_warning(build, capsys):
    build([chat(1, {"role": "user", "content": "\ufffd"}), chat(2, Q, A)])
    assert "warning" not in capsys.readouterr().out
