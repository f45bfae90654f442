"""A reward function's mistakes are named: which function, which answer, which row."""

import math

import pytest

from stages.training.models import load_tokenizer, save_tiny_model
from stages.training.reward_calls import reward_function, score_answers, unknown_field_problems
from validators import rewards
from validators.problems import Problems

pytestmark = pytest.mark.slow

ROWS = [
    {"prompt": [{"role": "user", "content": "q"}], "ground_truth": truth, "extra": "{}"} for truth in ("a", "b", "c")
]
NAMES = ["raw.jsonl:1", "raw.jsonl:2", "raw.jsonl:3"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return load_tokenizer(folder)


@pytest.fixture
def scored(tokenizer, monkeypatch):
    """What a function given as code gives three answers."""

    def scored(*functions, answers=("a", "b", "x")):
        for i, function in enumerate(functions):
            monkeypatch.setattr(rewards, f"f{i}", function, raising=False)
        return score_answers(
            [f"f{i}" for i in range(len(functions))], ROWS, list(answers), tokenizer, "steps.align", NAMES
        )

    return scored


def mistake(error):
    (problem,) = error.value.problems
    assert problem.where == "steps.align: preflight.reward_runs"
    return problem.found


def test_every_function_gives_every_answer_a_number(scored):
    found = scored(rewards.exact_match, lambda completions, **_: [True, None, "2.5"])
    assert found[:, 0].tolist() == [1.0, 1.0, 0.0]
    assert found[0, 1] == 1.0 and math.isnan(found[1, 1]) and found[2, 1] == 2.5


def test_functions_get_what_trl_gives_them(scored):
    seen = {}

    def watched(**given):
        seen.update(given)
        return [0.0] * len(given["prompts"])

    scored(watched)
    assert seen["completions"][0] == [{"role": "assistant", "content": "a"}]
    assert seen["prompts"][1] == [{"role": "user", "content": "q"}]
    assert (seen["ground_truth"], seen["extra"]) == (["a", "b", "c"], ["{}"] * 3)
    assert len(seen["completion_ids"][0]) == 2
    assert seen["trainer_state"].global_step == 0
    seen["log_extra"]("column", [1]), seen["log_metric"]("name", 1.0)


def test_a_function_that_raises_is_named_with_the_first_row_that_makes_it(scored):
    def fragile(completions, **_):
        return [1 / (0 if answer[0]["content"] == "b" else 1) for answer in completions]

    with pytest.raises(Problems) as error:
        scored(fragile)
    assert mistake(error) == "f0 raised ZeroDivisionError: division by zero; the answer was 'b' of raw.jsonl:2"


def test_a_function_that_raises_for_the_batch_alone_is_named_with_it(scored):
    def crowded(completions, **_):
        return [1.0] if len(completions) == 1 else [][0]

    with pytest.raises(Problems) as error:
        scored(crowded)
    assert mistake(error) == "f0 raised IndexError: list index out of range; the batch began with raw.jsonl:1"


def test_a_list_of_the_wrong_length_is_named(scored):
    with pytest.raises(Problems) as error:
        scored(lambda completions, **_: [1.0])
    assert mistake(error) == "f0 returned 1 values for 3 answers, of raw.jsonl:1 and those after it"


@pytest.mark.parametrize("value, shown", [(math.inf, "inf"), (math.nan, "nan"), ("good", "'good'"), ([1.0], "[1.0]")])
def test_a_value_that_is_no_finite_number_is_named_with_its_row(scored, value, shown):
    with pytest.raises(Problems) as error:
        scored(lambda completions, **_: [0.0, value, value])
    assert mistake(error) == f"f0 returned {shown} for the answer 'b' of raw.jsonl:2 and 1 more such"


def test_nothing_returned_is_named(scored):
    with pytest.raises(Problems) as error:
        scored(lambda completions, **_: None)
    assert "TypeError" in mistake(error)


def test_all_functions_that_fail_are_named_at_once(scored):
    with pytest.raises(Problems) as error:
        scored(lambda completions, **_: [1.0], rewards.exact_match, lambda completions, **_: [math.inf] * 3)
    assert [problem.found[:2] for problem in error.value.problems] == ["f0", "f2"]


def test_a_function_gets_the_fields_of_extra_that_it_names(monkeypatch):
    def passes(completions, tests, *, weight, ground_truth, factor=2, **given):
        assert given["extra"] == ['{"tests": [1, 2], "weight": 3}', '{"tests": []}'] and "tests" not in given
        return [len(each) * factor + (heavy or 0) for each, heavy in zip(tests, weight, strict=True)]

    monkeypatch.setattr(rewards, "passes", passes, raising=False)
    function = reward_function("passes")
    given = {
        "completions": ["a", "b"],
        "ground_truth": ["x", "y"],
        "extra": ['{"tests": [1, 2], "weight": 3}', '{"tests": []}'],
    }
    assert function(**given) == [7, 0] and function.__name__ == "passes"
    assert reward_function("exact_match") is rewards.exact_match


def test_a_field_that_no_row_has_is_named(monkeypatch):
    monkeypatch.setattr(rewards, "passes", lambda completions, testz, **_: [0.0], raising=False)
    rows = [{"extra": "{}"}, {"extra": '{"tests": []}'}]
    (problem,) = unknown_field_problems("passes", rows, "steps.align")
    assert "'testz', which no row has" in problem.found and problem.hint == "did you mean 'tests'?"
    monkeypatch.setattr(rewards, "passes", lambda completions, tests, **_: [0.0], raising=False)
    assert unknown_field_problems("passes", rows, "steps.align") == []
