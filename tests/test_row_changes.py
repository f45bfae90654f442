import pyarrow.parquet as pq
import pytest

from commands.records.row_changes import changed_records, count_changes, open_comparison, quote_path
from stages.rows.tables import REJECTS, row_schema, to_table

FILE = "data/raw/chat.jsonl"


def write(folder, train=(), held_out=(), rejects=()):
    """The three files of a dataset. Rows: (id, line). Rejects: (id or None, line, check, raw)."""
    folder.mkdir(parents=True)
    for room, rows in (("train", train), ("eval", held_out)):
        turns = [
            [{"role": "user", "content": f"question {key}"}, {"role": "assistant", "content": "yes"}] for key, _ in rows
        ]
        found = [
            {"messages": turn, "tools": None, "id": key, "source": FILE, "line": line}
            for turn, (key, line) in zip(turns, rows, strict=True)
        ]
        pq.write_table(to_table(found, row_schema("sft")), folder / f"{room}.parquet")
    found = [
        {"id": key, "source": FILE, "line": line, "stage": "any", "check": check, "detail": "", "raw": raw}
        for key, line, check, raw in rejects
    ]
    pq.write_table(to_table(found, REJECTS), folder / "rejected.parquet")
    return {room: folder / f"{room}.parquet" for room in ("train", "eval", "rejected")}


@pytest.fixture
def compared(tmp_path):
    """A function: what differs between two versions, as (change, from, to, rows)."""

    def compare(old, new):
        files = write(tmp_path / "old", **old), write(tmp_path / "new", **new)
        with open_comparison(*files) as database:
            return [tuple(item.values()) for item in count_changes(database)]

    return compare


def test_the_same_rows_on_other_lines_are_no_change(compared):
    old = {
        "train": [("aa", 1), ("bb", 2)],
        "rejects": [("cc", 3, "sft.known_roles", "{}"), (None, 4, "ingest.json", "{")],
    }
    new = {
        "train": [("aa", 11), ("bb", 2)],
        "rejects": [("cc", 13, "sft.known_roles", "{}"), (None, 14, "ingest.json", "{")],
    }
    assert compared(old, new) == []


def test_a_row_inserted_above_is_the_only_change(compared):
    old = {"train": [("aa", 1), ("bb", 2), ("cc", 3)]}
    new = {"train": [("new", 1), ("aa", 2), ("bb", 3), ("cc", 4)]}
    assert compared(old, new) == [("added", None, "train", 1)]


def test_a_row_of_another_text_on_the_same_line_is_changed(compared):
    assert compared({"train": [("aa", 1)]}, {"train": [("bb", 1)]}) == [("changed", "train", "train", 1)]


def test_rows_are_removed_from_where_they_were(compared):
    old = {"train": [("aa", 1)], "held_out": [("bb", 2)], "rejects": [("cc", 3, "sft.known_roles", "{}")]}
    assert compared(old, {}) == [
        ("removed", "eval", None, 1),
        ("removed", "rejected: sft.known_roles", None, 1),
        ("removed", "train", None, 1),
    ]


def test_a_row_moves_between_accept_and_reject_and_between_sides(compared):
    old = {"train": [("aa", 1), ("bb", 2)], "rejects": [("cc", 3, "curate.benchmark", "{}")]}
    new = {"train": [("cc", 3)], "held_out": [("bb", 2)], "rejects": [("aa", 1, "curate.mixed_out", "{}")]}
    assert compared(old, new) == [
        ("moved", "rejected: curate.benchmark", "train", 1),
        ("moved", "train", "eval", 1),
        ("moved", "train", "rejected: curate.mixed_out", 1),
    ]


def test_a_row_rejected_for_another_reason_is_moved(compared):
    old = {"rejects": [("aa", 1, "curate.duplicate", "{}")]}
    new = {"rejects": [("aa", 1, "curate.contradiction", "{}")]}
    assert compared(old, new) == [("moved", "rejected: curate.duplicate", "rejected: curate.contradiction", 1)]


def test_a_line_that_was_broken_is_a_row_changed_into_a_reject(compared):
    old, new = {"train": [("aa", 7)]}, {"rejects": [(None, 7, "ingest.json", "{")]}
    assert compared(old, new) == [("changed", "train", "rejected: ingest.json", 1)]


def test_one_duplicate_less_is_one_reject_less(compared):
    old = {"train": [("aa", 1)], "rejects": [("aa", 5, "curate.duplicate", "{}"), ("aa", 9, "curate.duplicate", "{}")]}
    new = {"train": [("aa", 1)], "rejects": [("aa", 9, "curate.duplicate", "{}")]}
    assert compared(old, new) == [("removed", "rejected: curate.duplicate", None, 1)]


def test_two_rows_of_one_line_are_paired_with_the_two_that_replace_them(compared):
    old, new = {"train": [("aa", 1), ("bb", 1)]}, {"train": [("cc", 1), ("dd", 1)]}
    assert compared(old, new) == [("changed", "train", "train", 2)]


def test_a_dataset_without_an_old_version_is_added_row_by_row(tmp_path):
    files = write(tmp_path / "new", train=[("aa", 1)], rejects=[(None, 2, "ingest.json", "{")])
    with open_comparison({}, files) as database:
        assert [(item["to"], item["rows"]) for item in count_changes(database)] == [
            ("rejected: ingest.json", 1),
            ("train", 1),
        ]


def test_records_have_the_texts_of_both_versions(tmp_path):
    old = write(tmp_path / "old", train=[("aa", 1), ("bb", 2)], rejects=[(None, 3, "ingest.json", "{x")])
    new = write(tmp_path / "new", train=[("cc", 1), ("bb", 2)], rejects=[(None, 3, "ingest.json", "{y")])
    with open_comparison(old, new) as database:
        one, two = changed_records(database, old, new)
        assert len(changed_records(database, old, new, limit=1)) == 1
    assert (one["change"], one["old"]["id"], one["new"]["id"]) == ("changed", "aa", "cc")
    assert "question aa" in one["old"]["text"] and "question cc" in one["new"]["text"]
    assert (two["old"]["id"], two["old"]["text"], two["new"]["text"]) == (None, "{x", "{y")


def test_two_rejects_of_one_line_keep_their_own_texts(tmp_path):
    old = write(tmp_path / "old", rejects=[("aa", 1, "kto.non_empty", "first"), ("bb", 1, "kto.non_empty", "second")])
    with open_comparison(old, {}) as database:
        assert {row["old"]["id"]: row["old"]["text"] for row in changed_records(database, old, {})} == {
            "aa": "first",
            "bb": "second",
        }


def test_a_path_with_signs_of_a_pattern_is_a_path(tmp_path):
    files = write(tmp_path / "it's [a] *folder*", train=[("aa", 1)])
    with open_comparison(files, {}) as database:
        assert [item["rows"] for item in count_changes(database)] == [1]
    assert quote_path("plain/path") == "'plain/path'"


def test_a_changed_row_is_known_again_below_rows_that_were_put_in(compared):
    old = {"train": [("aa", 1), ("bb", 2), ("cc", 3)]}
    new = {"train": [("new", 1), ("aa", 2), ("other", 3), ("cc", 4)]}
    assert compared(old, new) == [("added", None, "train", 1), ("changed", "train", "train", 1)]
