"""What one answer to every question, or the length of answers, scores is known beside what a model scores."""

import pytest

from stages.report import describe_headline, describe_unended
from stages.reporting.score_text import format_score
from stages.scoring.baselines import baselines, constant_scores, frequent_answer
from stages.scoring.statistics import describe_generated, describe_generated_briefly

ITEM = {"value": 0.31, "low": 0.25, "high": 0.38, "n": 200, "change": 0.3, "change_low": 0.2, "change_high": 0.4}


def quiz(*truths):
    turns = [{"role": "user", "content": "Which?"}]
    return [{"prompt": turns, "ground_truth": truth, "extra": "{}", "source": "q.jsonl", "line": 1} for truth in truths]


def test_the_most_frequent_right_answer_is_scored_by_each_reward_and_metric_that_compares():
    rows = quiz(*"AABCD" * 8)
    found = constant_scores("quiz", "grpo", rows, {"exact_match": 2.0}, ["exact_match"])
    assert found == ("A", {"exact_match": 0.4, "reward/exact_match": 0.4, "reward": 0.8})


def test_of_a_sum_with_other_rewards_nothing_is_said():
    _, found = constant_scores("quiz", "grpo", quiz(*"AABCD" * 8), {"exact_match": 1.0, "one_word": 0.5}, [])
    assert found == {"reward/exact_match": 0.4}


def test_supervised_rows_have_their_last_turns():
    rows = [{"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": "yes" if i % 3 else "no"}],
             "source": "a", "line": i} for i in range(30)]  # fmt: skip
    assert constant_scores("d", "sft", rows, {}, ["exact_match", "rouge_l"]) == ("yes", {"exact_match": 20 / 30})


@pytest.mark.parametrize(
    ("truths", "wanted"),
    [(["#### 18", "18", "so \\boxed{18}", "7"], "18"), (['["Paris", "paris"]', "Rome"] * 3, "Paris"), (["b", "a"] * 4, "a"),
     ([str(i) for i in range(40)], ""), (["x" * 61] * 9, ""), ([""] * 9, "")],
)  # fmt: skip
def test_an_answer_is_taken_from_its_solution_and_must_be_frequent_and_short(truths, wanted):
    assert frequent_answer(truths) == wanted


@pytest.mark.parametrize(
    ("rows", "rewards", "own"),
    [(quiz(*"A" * 19), {"exact_match": 1.0}, []), (quiz(*"A" * 40), {"one_word": 1.0}, []), ([], {}, [])],
    ids=["few rows", "nothing that compares", "no rows"],
)
def test_nothing_is_said(rows, rewards, own):
    assert baselines("quiz", "grpo", rows, rewards, own) == {}


def test_the_answer_stands_beside_the_score_and_is_no_verdict_of_better():
    item = ITEM | {"constant": 0.349, "constant_answer": "A"}
    assert describe_generated(item) == describe_generated_briefly(item) == "always 'A' would score 0.349"
    score = format_score(item, "exact_match")
    assert (score["verdict"], score["said"]) == (None, "higher, but one answer to all would do as well")
    above = format_score(item | {"constant": 0.2}, "exact_match")
    assert (above["verdict"], above["said"]) == ("better", "better")
    alike = format_score(ITEM | {"alike": 190}, "exact_match")
    assert (alike["verdict"], alike["said"]) == (None, "higher, but it says one thing to nearly all")
    some = format_score(ITEM | {"alike": 120, "alike_answer": "no"}, "exact_match")
    assert (some["verdict"], some["noted"]) == ("better", "120 answers are 'no'")
    facts = {"step": "align", "method": "grpo", "dataset": "quiz", "metric": "exact_match", "why": None, "score": score}
    _, compared = describe_headline(facts | {"against": [score | {"model": "sft", "others": []}]})
    assert compared == f"  - against sft: {score['said']}, {score['moved']}"


def turns(text):
    return [{"role": "assistant", "content": text}]


def pairs(*lengths):
    return [{"prompt": [], "chosen": turns("c" * a), "rejected": turns("r" * b)} for a, b in lengths]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (pairs(*[(9, 4)] * 15, *[(2, 3)] * 5), {"constant": 0.75, "constant_side": "longer"}),
        (pairs(*[(4, 9)] * 10, *[(3, 3)] * 10), {"constant": 0.75, "constant_side": "shorter"}),
        (pairs(*[(9, 4)] * 11, *[(2, 3)] * 9), {"constant": 0.55, "constant_side": "longer"}),
        (pairs(*[(9, 4)] * 19), None),
    ],
    ids=["longer", "equal ones count half", "no side", "few rows"],
)
def test_the_side_that_length_takes_is_scored_as_pairs_are(rows, wanted):
    assert baselines("pairs", "preference", rows, {}, []) == ({"pair_accuracy": wanted} if wanted else {})


def test_length_ranks_single_answers_by_their_auc():
    rows = [{"completion": turns("x" * n), "label": n < 15 or n == 20} for n in range(30)]
    found = baselines("rated", "kto", rows, {}, [])
    assert found == {"auc": {"constant": round((15 * 14 + 9) / (16 * 14), 6), "constant_side": "shorter"}}


def test_an_answer_of_tool_calls_alone_has_no_characters():
    rows = [{"chosen": [{"role": "assistant", "content": None}], "rejected": turns("x")} for _ in range(20)]
    assert baselines("pairs", "preference", rows, {}, [])["pair_accuracy"]["constant_side"] == "shorter"


def test_a_model_that_does_no_better_than_length_is_not_called_better():
    item = ITEM | {"constant": 0.681, "constant_side": "longer"}
    assert describe_generated(item) == "always the longer answer would score 0.681"
    assert format_score(item, "pair_accuracy")["said"] == "higher, but length alone would do as well"
    assert format_score(item | {"constant": 0.2}, "pair_accuracy")["verdict"] == "better"


def test_a_model_of_which_most_answers_never_end_is_told_of():
    metrics = {"loss": {"value": 1.0, "n": 103}, "rouge_l": {"value": 0.1, "n": 103, "answers": 103, "cut": 90}}
    assert describe_unended(metrics).startswith("90 of 103 of its answers do not end within evaluate.max_new_tokens: ")
    assert describe_unended({"rouge_l": {"value": 0.1, "n": 103, "cut": 40}}) == describe_unended({}) == ""
