"""The side of a row: by its prompt, by its system turn too where `split_on` says so, by what `eval:` pins."""

import random

import duckdb
import pyarrow.parquet as pq
import pytest

from stages.dedup.split import on_eval_side, read_pinned, register_normalised, split_key, split_key_sql, system_of
from stages.rows.identity import digest, identify
from stages.rows.tables import row_schema, to_table

BOTH = ["system", "user"]


def turn(role, content):
    return {"role": role, "content": content, "tool_calls": None}


def row(kind, *turns):
    content = (
        {"messages": list(turns), "tools": None}
        if kind == "sft"
        else {"prompt": list(turns), "ground_truth": "a", "extra": "{}"}
    )
    return content | identify(content, kind) | {"source": "a", "line": 1}


def test_without_split_on_the_key_is_that_of_the_prompt():
    assert split_key("k", "Be brief.", ["user"]) == "k"
    assert split_key_sql("sft", ["user"]) == "prompt_key"


@pytest.mark.parametrize("system", [None, ""])
def test_a_row_without_a_system_turn_has_the_key_of_its_prompt_whatever_split_on_says(system):
    assert split_key("k", system, BOTH) == "k"


def test_a_system_turn_makes_another_key_and_case_and_spaces_do_not():
    keys = {split_key("k", system, BOTH) for system in ("Be brief.", "be  BRIEF. ", "Be long.")}
    assert len(keys) == 2 and "k" not in keys


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_the_key_of_python_is_that_of_the_query(tmp_path, kind):
    texts = ["Be brief.", " Sei  KURZ: ß é", "", " ", "e\u0301", None]
    rows = [row(kind, *([] if text is None else [turn("system", text)]), turn("user", "q")) for text in texts]
    rows.append(row(kind, turn("user", "q"), turn("system", "late")))
    pq.write_table(to_table(rows, row_schema(kind, keys=True)), tmp_path / "rows.parquet")
    query = f"SELECT {split_key_sql(kind, BOTH)} FROM read_parquet($file)"
    found = register_normalised(duckdb.connect()).execute(query, {"file": str(tmp_path / "rows.parquet")}).fetchall()
    turns = "messages" if kind == "sft" else "prompt"
    assert [key for (key,) in found] == [split_key(one["prompt_key"], system_of(one[turns]), BOTH) for one in rows]
    assert len(set(found)) == 6  # none and an empty one are one


def test_the_lot_of_a_key_is_a_share_and_stays():
    keys = [digest(str(random.Random(number).random()).encode()) for number in range(400)]
    sides = [on_eval_side(key, 7, 0.25) for key in keys]
    assert 70 < sum(sides) < 130
    assert sides == [on_eval_side(key, 7, 0.25) for key in keys]
    assert not any(on_eval_side(key, 7, 0.0) for key in keys)


def test_the_list_of_pinned_keys_is_read_anew_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_pinned() == frozenset()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pinned.txt").write_text("a\nb\n")
    assert read_pinned() == {"a", "b"}
    (tmp_path / "other/data").mkdir(parents=True)
    (tmp_path / "other/data/pinned.txt").write_text("")
    monkeypatch.chdir(tmp_path / "other")
    assert read_pinned() == frozenset()
