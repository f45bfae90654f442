"""The length-controlled rate is what it is defined as: that of the fit at no difference in length."""

import numpy as np
import pytest

from stages.scoring.length_control import fit_quality_and_bias, length_controlled

ALL = np.ones((1, 4000))


def made(quality, bias, rows=4000, longer_by=200):
    """Wins and lengths of a judge whose chances are known; ours is `longer_by` characters longer on average."""
    draw = np.random.default_rng(1)
    lengths = draw.normal(longer_by, 300, rows).round()
    chance = 1 / (1 + np.exp(-(quality + bias * np.tanh(lengths / lengths.std(ddof=1)))))
    return (draw.random(rows) < chance).astype(float), lengths


def rate(wins, lengths, weights=ALL):
    return float(length_controlled(wins, lengths, np.ones(len(wins), bool))(weights)[0])


def test_a_judge_that_only_likes_length_makes_no_winner():
    wins, lengths = made(quality=0.0, bias=3.0)
    assert wins.mean() > 0.65 and rate(wins, lengths) == pytest.approx(0.5, abs=0.03)


def test_the_quality_behind_the_length_is_found():
    wins, lengths = made(quality=-0.8, bias=2.0)
    assert wins.mean() > 0.45 and rate(wins, lengths) == pytest.approx(1 / (1 + np.exp(0.8)), abs=0.03)


def test_with_equal_lengths_it_is_the_plain_rate():
    wins = np.array([1.0, 0.0, 0.5, 0.75])
    assert rate(wins, np.zeros(4), np.ones((1, 4))) == pytest.approx(wins.mean(), abs=1e-9)


@pytest.mark.slow
def test_the_fit_is_that_of_scikit_learn_and_votes_that_are_split_count_as_both():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="the extra lm-eval brings it")
    draw = np.random.default_rng(3)
    longer, wins, weights = (
        np.tanh(draw.normal(0.3, 1, 60)),
        draw.choice([0, 0.25, 0.5, 0.75, 1], 60),
        draw.integers(0, 4, 60),
    )
    quality, bias = fit_quality_and_bias(wins, longer, weights[None].astype(float))
    model = linear_model.LogisticRegression(C=1.0, tol=1e-10, max_iter=1000)
    model.fit(
        np.r_[longer, longer][:, None], [1] * 60 + [0] * 60, sample_weight=np.r_[weights * wins, weights * (1 - wins)]
    )
    assert (quality[0], bias[0]) == (
        pytest.approx(model.intercept_[0], abs=1e-5),
        pytest.approx(model.coef_[0, 0], abs=1e-5),
    )


def test_where_all_is_won_or_lost_or_nothing_drawn_it_says_so():
    lengths, judged = np.array([10.0, -10.0, 5.0]), np.ones(3, bool)
    weights = np.array([[1.0, 1, 1], [0, 0, 0]])
    assert length_controlled(np.ones(3), lengths, judged)(weights)[0] == pytest.approx(1.0)
    assert length_controlled(np.zeros(3), lengths, judged)(weights)[0] == pytest.approx(0.0)
    assert np.isnan(length_controlled(np.ones(3), lengths, judged)(weights)[1])


def test_where_every_longer_answer_wins_the_fit_stays_finite():
    lengths = np.array([-300.0, -200, -100, 100, 200, 300])
    quality, bias = fit_quality_and_bias((lengths > 0).astype(float), np.tanh(lengths / 200), np.ones((1, 6)))
    assert abs(quality[0]) < 1e-6 and 0 < bias[0] < 5


def test_rows_without_a_vote_count_for_nothing():
    wins, lengths = made(quality=0.5, bias=1.0, rows=300)
    judged = np.arange(300) % 3 > 0
    rest = length_controlled(wins[judged], lengths[judged], np.ones(judged.sum(), bool))(np.ones((1, judged.sum())))
    assert length_controlled(np.where(judged, wins, 0), np.where(judged, lengths, 9e9), judged)(
        np.ones((1, 300))
    ) == pytest.approx(rest)
