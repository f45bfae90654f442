"""Metrics that a dataset names: what they are given, and what they may not return."""

import pytest

from stages.scoring.own_metrics import metric_arguments, metric_columns
from validators import metrics
from validators.params import metric_problems
from validators.problems import Problems

TURN = {"role": "user", "content": "Add."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
SFT = {
    "source": "data/raw/x.jsonl",
    "line": 3,
    "messages": [TURN, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
}
PAIR = {
    "source": "data/raw/p.jsonl",
    "line": 1,
    "prompt": [TURN],
    "chosen": [{"role": "assistant", "content": "2"}],
    "rejected": [],
}


def test_a_metric_is_given_the_answer_of_the_row_and_of_a_pair_the_chosen_one():
    found = metric_arguments(["said"], [SFT], "sft")
    assert (found["prompt"], found["ground_truth"]) == ([[TURN]], [""]) and '"add"' in found["extra"][0]
    found = metric_arguments(["said"], [PAIR], "preference")
    assert (found["prompt"], found["ground_truth"], found["extra"]) == ([[TURN]], ["2"], [None])
    assert metric_columns("tools", ["tool_call_match"], ['{"name": "add", "arguments": {"a": 1}}'], [SFT], "sft")[
        "tool_call_match"
    ].to_pylist() == [1.0]


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda completions, **_: [1 / (said[0]["content"] != "b") for said in completions], "raised ZeroDivisionError: division by zero, for data/raw/p.jsonl:1"),
        (lambda completions, **_: [1.0], "returned 1 values for 2 answers"),
        (lambda completions, **_: [1.0, "good"], "returned 'good' for data/raw/p.jsonl:1"),
        (lambda completions, **_: [1.0, float("nan")], "returned nan for data/raw/p.jsonl:1"),
        (lambda completions, **_: None, "raised TypeError"),
    ],
)  # fmt: skip
def test_a_metric_that_fails_names_the_dataset_the_metric_and_the_row(monkeypatch, function, expected):
    monkeypatch.setattr(metrics, "mine", function, raising=False)
    with pytest.raises(Problems) as error:
        metric_columns("pairs", ["mine"], ["a", "b"], [PAIR | {"line": 9}, PAIR], "preference")
    (problem,) = error.value.problems
    assert problem.where == "datasets.pairs.metrics: mine" and problem.found.startswith(expected)


def test_names_of_metrics_are_checked(monkeypatch):
    (problem,) = metric_problems("x", {"kind": "sft", "metrics": ["rouge"]})
    assert problem.where == "x.metrics" and "did you mean 'rouge_l'?" in problem.hint
    assert metric_problems("x", {"kind": "sft", "metrics": ["rouge_l"]}) == metric_problems("x", {"kind": "kto"}) == []
    (problem,) = metric_problems("x", {"kind": "kto", "metrics": ["rouge_l"]})
    assert "kto has no metrics" in problem.found
    monkeypatch.setattr("validators.params.public_functions", lambda module: ["loss"])
    (problem,) = metric_problems("x", {"kind": "sft", "metrics": ["loss"]})
    assert "the name of another score" in problem.found
