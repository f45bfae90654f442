import numpy as np
import pytest

from stages.scoring.statistics import (
    auc,
    describe_generated_briefly,
    describe_interval,
    mean,
    ratio,
    summary,
    wilson_interval,
)

ONES = np.ones((1, 4))


def pairwise(scores, labels, weights):
    """AUC by its definition: every pair of a good and a bad row, ties counted half."""
    won = pairs = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            pairs += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return won / pairs


def test_a_ratio_divides_sums_and_not_rows():
    assert ratio(np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 2, 4]))(ONES) == pytest.approx([1.0])


def test_a_row_drawn_twice_counts_twice_in_a_ratio():
    weights = np.array([[2.0, 0, 1, 1]])
    assert ratio(np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 2, 4]))(weights) == pytest.approx([9 / 10])


def test_a_mean_counts_every_row_once():
    assert mean(np.array([0.0, 1, 1, 1]))(ONES) == pytest.approx([0.75])


@pytest.mark.parametrize(
    "scores, labels, value",
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0),
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 0.0),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 0.5),
        ([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0], 0.875),
        ([0.9, 0.7, 0.5, 0.1], [1, 0, 1, 0], 0.75),
    ],
)
def test_auc_of_four_rows(scores, labels, value):
    assert auc(np.array(scores), np.array(labels))(ONES) == pytest.approx([value])


@pytest.mark.parametrize("levels", [3, 1000])
def test_auc_equals_its_definition_for_any_weights_and_ties(levels):
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, levels, 40).astype(float), rng.integers(0, 2, 40)
    weights = rng.multinomial(40, np.full(40, 1 / 40), 5).astype(float)
    expected = [pairwise(scores, labels, row) for row in weights]
    assert auc(scores, labels)(weights) == pytest.approx(expected)


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(auc(np.array([0.1, 0.2, 0.3, 0.4]), np.ones(4))(ONES)).all()


def test_a_summary_holds_the_value_of_the_rows_themselves():
    found = summary(mean(np.array([0.0, 0, 1, 1])), None, 4, seed=7)
    assert (found["value"], found["n"]) == (0.5, 4)
    assert found["change"] is found["change_low"] is found["change_high"] is None


@pytest.mark.parametrize("rows, known", [(3, False), (19, False), (20, True)])
def test_few_rows_have_a_value_and_no_interval(rows, known):
    found = summary(mean(np.zeros(rows)), mean(np.zeros(rows)), rows, seed=7)
    assert (found["value"], found["change"], found["n"]) == (0, 0, rows)
    assert {found[key] is not None for key in ("low", "high", "change_low", "change_high")} == {known}
    assert describe_interval(found) == ("[0.000, 0.161]" if known else f"n {rows}: too few rows")


@pytest.mark.parametrize(
    "right, rows, interval",
    [
        (0, 100, "[0.000, 0.037]"),
        (1, 100, "[0.002, 0.054]"),
        (100, 100, "[0.963, 1.000]"),
        (0, 20, "[0.000, 0.161]"),
        (0, 10000, "[0.000, 0.000]"),
    ],
)
def test_a_share_without_both_outcomes_has_the_interval_of_wilson(right, rows, interval):
    assert describe_interval(summary(mean(np.arange(rows) < right), None, rows, seed=7)) == interval


def test_rows_that_are_not_judged_are_no_trials():
    judged = np.arange(100) < 25
    found = summary(ratio(np.zeros(100), judged.astype(float)), None, 100, seed=7)
    assert (found["low"], found["high"]) == pytest.approx((0, wilson_interval(0, 25)[1]), abs=1e-6)


def test_an_auc_without_a_mistake_has_as_many_trials_as_its_smaller_class_has_rows():
    found = summary(auc(np.linspace(0, 1, 100), np.arange(100) >= 70), None, 100, seed=7)
    assert (found["value"], describe_interval(found)) == (1, "[0.886, 1.000]")


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1, 0.5])
def test_the_interval_of_a_share_covers_the_truth(share):
    rng = np.random.default_rng(2)
    found = [summary(mean(rng.random(100) < share), None, 100, seed) for seed in range(200)]
    assert sum(each["low"] <= share <= each["high"] for each in found) >= 180


def test_values_that_are_no_shares_keep_the_bootstrap():
    found = summary(mean(np.r_[np.full(97, -1.0), np.ones(3)]), None, 100, seed=7)
    assert -1 <= found["low"] < found["high"] < -0.8


def test_an_auc_of_a_handful_of_one_class_has_no_interval():
    scores = np.linspace(0, 1, 100)
    few, enough = (summary(auc(scores, np.arange(100) < count), None, 100, seed=7) for count in (2, 30))
    assert (few["low"], describe_interval(few)) == (None, "n 100: too few rows of one class")
    assert enough["low"] is not None


def test_where_there_is_no_value_or_no_error_there_is_no_word_of_an_interval():
    nothing = {"low": None, "high": None, "n": 50}
    assert (
        describe_interval(nothing | {"value": None})
        == describe_interval(nothing | {"value": 0.5, "stderr": None})
        == ""
    )


def test_an_interval_of_95_percent_covers_the_truth_about_that_often():
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(200):
        found = summary(mean(rng.normal(3, 1, 100)), None, 100, seed)
        covered += found["low"] <= 3 <= found["high"]
    assert 180 <= covered <= 199


def test_a_paired_change_is_known_better_than_two_values_apart():
    rng = np.random.default_rng(3)
    before = rng.normal(0, 1, 200)
    after = before + rng.normal(0.1, 0.1, 200)
    found = summary(mean(after), mean(before), 200, seed=7)
    assert found["change_low"] < found["change"] < found["change_high"]
    assert found["change_high"] - found["change_low"] < (found["high"] - found["low"]) / 3


def test_the_change_is_the_difference_of_the_values():
    after, before = np.array([1.0, 1, 1, 0]), np.array([0.0, 1, 0, 0])
    found = summary(mean(after), mean(before), 4, seed=7)
    assert found["change"] == found["value"] - summary(mean(before), None, 4, seed=7)["value"] == 0.5


def test_a_model_compared_with_itself_has_no_change():
    values = np.random.default_rng(4).normal(0, 1, 50)
    found = summary(mean(values), mean(values), 50, seed=7)
    assert (found["change"], found["change_low"], found["change_high"]) == (0, 0, 0)


def test_one_seed_gives_the_same_numbers_and_another_gives_others():
    values = np.random.default_rng(5).normal(0, 1, 50)
    first, again, other = (summary(mean(values), None, 50, seed) for seed in (7, 7, 8))
    assert first == again
    assert first["low"] != other["low"]


def test_answers_that_were_cut_are_counted_of_all_answers_not_of_those_that_a_metric_judges():
    assert describe_generated_briefly({"cut": 72, "n": 71, "answers": 72}) == "72 of 72 answers cut"
