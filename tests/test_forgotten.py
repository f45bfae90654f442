"""The list of forgotten records: its form, what ingest leaves out, and where forgotten records are still found."""

import json
import random

import pyarrow as pa
import pytest
from builds import FORGOTTEN

from commands.builds.build import Build
from commands.records.forgotten import find_breaks
from stages.dedup import forgotten as _forgotten
from stages.dedup.forgotten import Forgotten, entry_line, leave_out_forgotten, parse_forgotten, raw_id
from stages.rows.tables import REJECTS, row_schema, to_table
from validators.problems import Problems

ENTRY = Forgotten("a" * 64, "sft", ("b" * 64,), ("0" * 128,), "request 17")


def test_the_first_line_may_say_what_the_file_is_and_no_other():
    header = '{"about": "records that must not come back"}\n'
    assert _forgotten.parse_forgotten(header) == []
    assert _forgotten.parse_forgotten(header + entry_line(ENTRY)) == [ENTRY]
    with pytest.raises(Problems, match="does not have exactly the keys"):
        _forgotten.parse_forgotten(entry_line(ENTRY) + header)


def test_the_list_that_the_project_comes_with_names_no_record():
    assert _forgotten.parse_forgotten(FORGOTTEN) == []


def test_a_line_that_is_written_is_read_again():
    assert parse_forgotten(entry_line(ENTRY) + "\n" + entry_line(ENTRY)) == [ENTRY, ENTRY]


def test_a_list_that_is_empty_or_not_there_holds_nothing(tmp_path):
    assert _forgotten.read_forgotten(tmp_path / "none.jsonl") == []
    (tmp_path / "empty.jsonl").touch()
    assert _forgotten.read_forgotten(tmp_path / "empty.jsonl") == []


@pytest.mark.parametrize(
    "change, said",
    [
        ({"id": "abc"}, "`id` does not have 64"),
        ({"id": "A" * 64}, "`id` does not have 64"),
        ({"kind": "chat"}, "`kind`"),
        ({"texts": "b" * 64}, "`texts`"),
        ({"sketches": ["0" * 64]}, "`sketches`"),
        ({"reason": " "}, "`reason`"),
        ({"text": "what was said"}, "does not have exactly the keys"),
    ],
)
def test_a_line_of_another_form_is_named_with_its_number_and_without_what_it_holds(change, said):
    line = json.dumps(vars(ENTRY) | change)
    with pytest.raises(Problems, match=rf"data/forgotten\.jsonl:2: {said}") as error:
        parse_forgotten(entry_line(ENTRY) + line)
    assert "what was said" not in str(error.value)


def test_every_wrong_line_is_named_at_once():
    with pytest.raises(Problems) as error:
        parse_forgotten("{\n[]\n<<<<<<< HEAD\n")
    assert [problem.where[-1] for problem in error.value.problems] == ["1", "2", "3"]


# -- ingest -------------------------------------------------------------------------------------------------------


def kto_row(name, line):
    row = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": name}]}
    origin = {"id": name, "source": "raw", "line": line, "prompt_key": "k", "claim_key": None, "claim": None}
    return row | {"label": True} | origin


def rejected(raw, line):
    return {
        "id": None,
        "source": "raw",
        "line": line,
        "stage": "ingest",
        "check": "ingest.json",
        "detail": raw,
        "raw": raw,
    }


def test_a_record_is_left_out_whole_and_leaves_one_reject_without_text():
    rows = to_table(
        [kto_row(name, line) for name, line in (("a", 1), ("b", 1), ("c", 2))], row_schema("kto", keys=True)
    )
    stays, rejects = leave_out_forgotten(rows, REJECTS.empty_table(), {"b"})
    assert stays["id"].to_pylist() == ["c"]
    (reject,) = rejects.to_pylist()
    assert (reject["id"], reject["line"], reject["check"], reject["raw"]) == ("b", 1, "ingest.forgotten", None)


def test_the_raw_text_of_a_record_that_cannot_be_read_is_not_kept_either():
    rejects = to_table([rejected("{broken", 3), rejected("{other", 4)], REJECTS)
    _, kept = leave_out_forgotten(to_table([], row_schema("kto", keys=True)), rejects, {raw_id("{broken")})
    assert [(row["line"], row["check"], row["raw"]) for row in kept.to_pylist()] == [
        (3, "ingest.forgotten", None),
        (4, "ingest.json", "{other"),
    ]
    assert "broken" not in str(kept.to_pylist())


def test_nothing_changes_where_nothing_is_forgotten():
    rows = to_table([kto_row("a", 1)], row_schema("kto", keys=True))
    assert leave_out_forgotten(rows, REJECTS.empty_table(), {"z"})[0] is rows


# -- what is built ------------------------------------------------------------------------------------------------


def test_where_nothing_is_forgotten_nothing_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_breaks(Build(None, {"datasets": {"gone": {"kind": "sft"}}})) == []


def words(count, seed):
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(count))


def test_the_numbers_of_rows_go_on_from_one_row_group_to_the_next(tmp_path):
    import pyarrow.parquet as pq

    from commands.records.forgotten import forgotten_rows_in_group

    rows = to_table([kto_row(str(i) * 64, i) for i in range(6)], row_schema("kto"))
    pq.write_table(rows, tmp_path / "t.parquet", row_group_size=2)
    entry = Forgotten("5" * 64, "kto", (), (), "r")
    piece = ("train", "votes", tmp_path / "t.parquet", 2)
    ((record, found, why),) = forgotten_rows_in_group(piece, [entry], {"votes": "kto"}, 0.8)
    assert (record.row, record.line, found, why) == (5, 5, entry, "by id")


def test_a_reject_is_recognised_by_what_its_row_said(tmp_path):
    import pyarrow.parquet as pq

    from commands.records.forgotten import forgotten_rows_in_group
    from stages.dedup.sketches import row_hashes

    text = words(60, 1)
    row = {"messages": [{"role": "user", "content": "q", "tool_calls": None}, {"role": "assistant", "content": text, "tool_calls": None}], "tools": None}  # fmt: skip
    reject = rejected(json.dumps(row), 1) | {"id": "c" * 64, "stage": "curate"}
    pq.write_table(to_table([rejected("{", 9), reject], REJECTS), tmp_path / "r.parquet")
    pairs = pa.schema({name: row_schema("preference").field(name).type for name in ("prompt", "chosen", "rejected")})
    pair = {
        "prompt": row["messages"][:1],
        "chosen": row["messages"][1:],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    ((texts, sketches),) = row_hashes(to_table([pair], pairs), "preference")
    entry = Forgotten("d" * 64, "preference", tuple(texts), tuple(sketches), "r")
    ((record, _, why),) = forgotten_rows_in_group(
        ("rejected", "chat", tmp_path / "r.parquet", 0), [entry], {"chat": "sft"}, 0.8
    )
    assert (record.row, record.id, why) == (1, "c" * 64, "about 100% alike")


def test_tilth_check_names_a_broken_line(tmp_path, monkeypatch):
    from commands import check

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/forgotten.jsonl").write_text(entry_line(ENTRY) + "{}\n", encoding="utf-8")
    with pytest.raises(Problems, match=r"data/forgotten\.jsonl:2: does not have exactly the keys"):
        check.main()
