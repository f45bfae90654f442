"""Metrics of answers: each with an answer that it takes and one that it does not."""

import json

import pytest

from validators import metrics


def said(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_exact_match_is_of_what_follows_the_thought():
    answers = said("<think>x</think>\n\n Paris ", "paris", None)
    assert metrics.exact_match(answers, ground_truth=["Paris"] * 3) == [1.0, 0.0, 0.0]


def test_contains_is_blind_to_case_and_white_space_and_judges_no_empty_answer():
    found = metrics.contains(said("It is  PARIS\nnow.", "Rome", "x"), ground_truth=["paris now", "Paris", " "])
    assert found == [1.0, 0.0, None]


def test_rouge_l_is_that_of_rouge_score_and_knows_other_scripts():
    from rouge_score.rouge_scorer import RougeScorer

    truth, text = "the quick brown fox jumps", "the brown fox quickly jumps over"
    expected = RougeScorer(["rougeL"]).score(truth, text)["rougeL"].fmeasure
    found = metrics.rouge_l(
        said(text, "привет мир", "nothing", "x"), ground_truth=[truth, "привет мой мир", "мир", "..."]
    )
    assert found == [pytest.approx(expected), pytest.approx(0.8), 0.0, None]


def test_rouge_l_counts_characters_where_a_script_has_no_spaces():
    found = metrics.rouge_l(said("我很好，谢谢", "我不知道"), ground_truth=["我很好", "天气"])
    assert found == [pytest.approx(0.75), 0.0]


@pytest.mark.parametrize(
    "text, valid", [('{"a": 1}', 1.0), ("```json\n[1]\n```", 1.0), ('{"a": 1', 0.0), ("a: 1", 0.0), ("", 0.0)]
)
def test_json_is_valid_alone_or_in_a_fence(text, valid):
    assert metrics.json_valid(said(text)) == [valid]


CALLS = {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": {"c": 2}}}}]}


@pytest.mark.parametrize(
    "text, match",
    [
        ('<tool_call>\n{"name": "add", "arguments": {"b": {"c": 2}, "a": 1}}\n</tool_call>', 1.0),
        ('{"type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": {\\"c\\": 2}}"}}', 1.0),
        ('{"name": "add", "parameters": {"a": 1, "b": {"c": 2}}}', 1.0),
        ('{"name": "add", "arguments": {"a": 2, "b": {"c": 2}}}', 0.0),
        ('{"name": "add", "arguments": {"a": 1, "b": {"c": 2}}} {"name": "add", "arguments": {}}', 0.0),
        ('{"name": "add", "arguments": {', 0.0),
        ("I add them.", 0.0),
    ],
)
def test_a_tool_call_matches_by_name_and_arguments(text, match):
    assert metrics.tool_call_match(said(text), extra=[json.dumps(CALLS)]) == [match]


def test_a_row_without_calls_is_not_judged():
    assert metrics.tool_call_match(said("x", "y"), extra=[None, '{"reasoning_content": "z"}']) == [None, None]
