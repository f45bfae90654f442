"""`columns:`: deeper names, items of lists, several names as one."""

import pytest

from stages.rows.options import Options
from stages.rows.shapes import rows_of
from stages.rows.values import Unreadable


def said(record, kind, **columns):
    """(prompt, answer) of each row of a record."""
    rows = rows_of(record, kind, Options(columns=columns))
    if kind == "sft":
        return [(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in rows]
    return [(row["prompt"][-1]["content"], row["ground_truth"]) for row in rows]


def test_a_path_leads_deeper():
    record = {"prompt": "q", "reward_model": {"style": "rule", "ground_truth": "7"}}
    (row,) = rows_of(record, "grpo", Options(columns={"prompt": "prompt", "ground_truth": "reward_model.ground_truth"}))
    assert row["ground_truth"] == "7"
    assert row["extra"] == '{"reward_model":{"style":"rule","ground_truth":"7"}}'  # nothing of it is lost


def test_a_key_with_a_dot_is_no_path():
    assert said({"a.b": "q", "c": "a"}, "sft", prompt="a.b", completion="c") == [("q", "a")]


def test_each_item_of_a_list_is_a_row():
    seed = {"instruction": "i", "instances": [{"input": "x", "output": "a"}, {"input": "", "output": "b"}]}
    columns = {"instruction": "instruction", "input": "instances[].input", "output": "instances[].output"}
    assert said(seed, "sft", **columns) == [("i\nx", "a"), ("i", "b")]
    wrapped = {"canary": "c", "data": {"examples": [{"q": "q1", "a": "1"}, {"q": "q2", "a": "2"}]}}
    columns = {"prompt": "data.examples[].q", "ground_truth": "data.examples[].a"}
    assert said(wrapped, "grpo", **columns) == [("q1", "1"), ("q2", "2")]
    assert said({"q": ["q1", "q2"], "a": "1"}, "sft", prompt="q[]", completion="a") == [("q1", "1"), ("q2", "1")]


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"list": [], "a": "1"}, "the list that columns lead into is empty"),
        ({"list": "q", "a": "1"}, "expected a list"),
        ({"a": "1"}, r"not in this record: list\[\]"),
    ],
)
def test_a_list_that_is_none_is_named(record, detail):
    with pytest.raises(Unreadable, match=detail):
        said(record, "sft", prompt="list[]", completion="a")


def test_items_of_two_lists_are_not_paired():
    with pytest.raises(Unreadable, match="cannot be paired"):
        said({"q": ["x"], "a": ["y"]}, "sft", prompt="q[]", completion="a[]")


def test_several_names_are_joined():
    assert said(
        {"Body": "b", "Question": "q", "Answer": "a"}, "sft", prompt=["Body", "Question"], completion="Answer"
    ) == [("b\nq", "a")]
    assert said(
        {"Body": "", "Question": "q", "Answer": "a"}, "sft", prompt=["Body", "Question"], completion="Answer"
    ) == [("q", "a")]


@pytest.mark.parametrize("options", [["x", "y"], {"A": "x", "B": "y"}, {"text": ["x", "y"], "label": ["A", "B"]}])
def test_options_are_lettered(options):
    record = {"question": "q", "options": options, "key": "B"}
    assert said(record, "grpo", prompt=["question", "options"], ground_truth="key") == [("q\nA. x\nB. y", "B")]


def test_what_is_no_text_is_not_joined():
    with pytest.raises(Unreadable, match="options are a list or an object of texts"):
        said({"q": "q", "o": [1, {"a": 2}], "a": "a"}, "sft", prompt=["q", "o"], completion="a")


def test_names_are_matched_without_regard_to_case_where_that_is_plain():
    assert said({"Question": "q", "ANSWER": "a"}, "sft", prompt="question", completion="answer") == [("q", "a")]
    with pytest.raises(Unreadable):
        said({"Question": "q", "QUESTION": "r", "a": "a"}, "sft", prompt="question", completion="a")
    exact = {"Question": "q", "question": "r", "a": "a"}
    assert said(exact, "sft", prompt="question", completion="a") == [("r", "a")]
