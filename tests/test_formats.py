"""Options of a dataset in params.yaml: what may stand there, and what `tilth check` says of the rest."""

import pytest

from stages.rows.shapes import READERS
from stages.rows.turns import KNOWN_KEYS
from validators._formats import COLUMNS, SHAPES, mask_problems, option_problems


def test_the_shapes_and_columns_that_may_be_named_are_those_that_are_read():
    assert set(SHAPES) == set(READERS)
    assert set(COLUMNS) <= KNOWN_KEYS


@pytest.mark.parametrize(
    "kind, options",
    [
        ("sft", {}),
        ("sft", {"columns": {"prompt": "question", "completion": "best answer"}}),
        ("sft", {"columns": {"prompt": 1, "completion": 2}}),
        ("sft", {"format": "alpaca", "system": "Be brief."}),
        ("grpo", {"ground_truth_pattern": "#### (.+)$"}),
        ("preference", {"reasoning": "mask"}),
        ("kto", {"reasoning": "mask"}),
        ("grpo", {"ground_truth_pattern": "(?:is|=) (\\d+)"}),
    ],
)
def test_options_that_are_right_have_no_problem(kind, options):
    assert option_problems("d", {"kind": kind, **options}) == []


@pytest.mark.parametrize(
    "kind, options, where, found",
    [
        ("sft", {"columns": {"promt": "q"}}, "d.columns.promt", "no shape has a column 'promt'"),
        ("sft", {"columns": {"prompt": 0}}, "d.columns.prompt", "column 0"),
        ("sft", {"columns": {"prompt": 1, "completion": "a"}}, "d.columns", "names and numbers"),
        ("sft", {"format": "alpacca"}, "d.format", "no shape 'alpacca'"),
        ("sft", {"ground_truth_pattern": "(a)"}, "d.ground_truth_pattern", "a sft dataset has no ground truth"),
        ("grpo", {"ground_truth_pattern": "#### (.+"}, "d.ground_truth_pattern", "does not compile"),
        ("grpo", {"ground_truth_pattern": "#### .+"}, "d.ground_truth_pattern", "0 groups"),
        ("grpo", {"ground_truth_pattern": "(a)(b)"}, "d.ground_truth_pattern", "2 groups"),
        ("grpo", {"reasoning": "mask"}, "d.reasoning", "mask in a grpo dataset"),
    ],
)
def test_an_option_that_cannot_be_is_named(kind, options, where, found):
    (problem,) = option_problems("d", {"kind": kind, **options})
    assert problem.where == where
    assert found in problem.found


@pytest.mark.parametrize(
    "method, args, places",
    [
        ("sft", {}, []),
        ("sft", {"assistant_only_loss": False}, ["steps.s.args.assistant_only_loss"]),
        ("sft", {"assistant_only_loss": False, "completion_only_loss": True}, []),
        ("dpo", {}, []),
        ("kto", {}, []),
        ("orpo", {}, ["steps.s.method"]),
    ],
)
def test_a_step_that_would_learn_the_thoughts_of_a_masked_dataset_is_named(method, args, places):
    steps = {"s": {"method": method, "dataset": "d", "args": args}}
    assert [problem.where for problem in mask_problems("steps", steps, {"d": {"reasoning": "mask"}})] == places
    assert mask_problems("steps", steps, {"d": {"reasoning": "keep"}}) == []
