"""Options of a dataset, as the readers apply them."""

import pickle

import pytest

from stages.rows import options as _options
from stages.rows.columns import rename_columns
from stages.rows.options import NO_OPTIONS, Options, extract_ground_truth, options_of
from stages.rows.shapes import rows_of
from stages.rows.turns import assistant, system, user
from stages.rows.values import Unreadable
from validators.problems import Problems

QUESTION = {"question": "q", "correct": "a", "level": 3}


def test_options_are_those_of_the_dataset_and_reach_other_processes():
    dataset = {"kind": "sft", "raw": "data/raw/a", "columns": {"prompt": "q"}, "system": "s"}
    options = options_of(dataset)
    assert options == Options(columns={"prompt": "q"}, system="s")
    assert pickle.loads(pickle.dumps(options)) == options
    assert options_of({"kind": "sft", "raw": "data/raw/a"}) == NO_OPTIONS


def test_columns_give_keys_the_names_that_a_shape_knows():
    options = Options(columns={"prompt": "question", "ground_truth": "correct"})
    (row,) = rows_of(QUESTION, "grpo", options)
    assert row == {"prompt": [user("q")], "ground_truth": "a", "extra": '{"level":3}'}


def test_columns_may_be_swapped():
    record = {"chosen": 1, "rejected": 2}
    assert rename_columns(record, {"chosen": "rejected", "rejected": "chosen"}) == [{"chosen": 2, "rejected": 1}]


def test_a_column_that_a_record_has_not_is_named():
    with pytest.raises(Unreadable, match="not in this record: answr"):
        rows_of(QUESTION, "grpo", Options(columns={"prompt": "question", "ground_truth": "answr"}))


def test_a_record_with_none_of_the_columns_is_not_read_as_something_else():
    record = {"instruction": "i", "output": "o"}
    assert rows_of(record, "sft", Options(columns={"instruction": "instruction", "input": "more"}))
    with pytest.raises(Unreadable, match="none of the columns; columns: not in this record: q"):
        rows_of(record, "sft", Options(columns={"prompt": "q"}))


def test_a_format_is_read_where_the_keys_tell_another_shape():
    record = {"instruction": "i", "output": "o", "prompt": "q", "completion": "a"}
    assert rows_of(record, "sft")[0]["messages"] == [user("i"), assistant("o")]
    assert rows_of(record, "sft", Options(format="prompt_completion"))[0]["messages"] == [user("q"), assistant("a")]


def test_a_record_that_lacks_the_keys_of_its_format_is_rejected():
    for shape in ("alpaca", "sharegpt", "chatml", "preference", "feedback", "verifiable", "openai_preference"):
        with pytest.raises(Unreadable) as raised:
            rows_of({"text": "a"}, "sft", Options(format=shape))
        assert raised.value.check == "ingest.missing_key"


@pytest.mark.parametrize("kind, place", [("sft", "messages"), ("grpo", "prompt")])
def test_a_system_turn_is_added_only_where_there_is_none(kind, place):
    options = Options(system="s")
    (row,) = rows_of({"prompt": "q", "answer": "a"}, kind, options)
    assert row[place][:2] == [system("s"), user("q")][: len(row[place])]
    (row,) = rows_of({"prompt": "q", "answer": "a", "system": "own"}, kind, options)
    assert row[place][0] == system("own")


def test_a_pattern_keeps_its_group_and_the_whole_goes_to_extra():
    (row,) = rows_of({"question": "q", "answer": "so #### 42"}, "grpo", Options(ground_truth_pattern="#### (.+)$"))
    assert (row["ground_truth"], row["extra"]) == ("42", '{"ground_truth_text":"so #### 42"}')


def test_a_ground_truth_without_the_pattern_is_rejected_by_name():
    with pytest.raises(Unreadable) as raised:
        rows_of({"question": "q", "answer": "so 42"}, "grpo", Options(ground_truth_pattern="#### (.+)$"))
    assert raised.value.check == "ingest.ground_truth_pattern"


def test_a_pattern_that_does_not_end_is_a_problem_and_no_hang(monkeypatch):
    monkeypatch.setattr(_options, "PATTERN_TIMEOUT_S", 0.1)
    assert extract_ground_truth("aaab", "(a+)b") == "aaa"
    with pytest.raises(Problems, match="takes more than"):
        extract_ground_truth("a" * 300 + "!", r"((?:a|aa)+)+[xy]$")


def test_all_pairs_of_scored_answers_are_those_that_differ_by_more_than_the_margin():
    record = {"prompt": "q", "responses": ["a", "b", "c"], "scores": [3, 1, 2]}

    def pairs(**options):
        rows = rows_of(record, "preference", Options(**options))
        return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]

    assert pairs() == [("a", "b")]
    assert pairs(pairs="all") == [("a", "c"), ("a", "b"), ("c", "b")]
    assert pairs(pairs="all", margin=1) == [("a", "b")]
    with pytest.raises(Unreadable, match="differ by more than 2"):
        pairs(margin=2)
    assert len(rows_of(record, "kto", Options(pairs="all"))) == 4  # c is once the better one and once the worse one
