"""The win rate that a judge would give if both answers were equally long: what AlpacaEval 2 calls length-controlled.

    length_controlled(wins, lengths, judged)(weights) -> (resamples,) rates

Judges favour the longer answer. So the chance of a win is fitted as logistic(quality + bias * tanh(difference / its standard
deviation)), and the rate is logistic(quality): the difference of lengths is set to 0. Wins of 0.25, 0.5 and 0.75 count as such.
Source: Dubois et al. 2024, Length-Controlled AlpacaEval, equations 1 and 2, for one pair of models. Their term for how hard a
prompt is for other models drops out: it is not known here.

Their fit has an L1 penalty whose strength cross-validation finds. Here `bias` alone has a penalty of bias²/2, so that
a resample in which every longer answer wins has a finite fit, and with equal lengths the rate is the plain win rate.
"""

import numpy as np

from stages.scoring.statistics import Metric

MAX_ITERATIONS, TOLERANCE = 50, 1e-9  # of Newton's method, which takes about five
SATURATED_QUALITY = 30.0  # the rate is within 1e-13 of 0 or 1: all rows are lost, or all won


def length_controlled(wins: np.ndarray, lengths: np.ndarray, judged: np.ndarray) -> Metric:
    """A metric of bootstrap weights. wins: (n,) 0 to 1. lengths: (n,) ours minus theirs, in characters. judged: (n,) booleans."""
    spread = lengths[judged].std(ddof=1) if judged.sum() > 1 else 0.0
    longer = np.tanh(lengths[judged] / spread) if spread else np.zeros(int(judged.sum()))

    def value(weights: np.ndarray) -> np.ndarray:
        quality, _ = fit_quality_and_bias(wins[judged], longer, np.atleast_2d(weights)[:, judged])
        return 1 / (1 + np.exp(-quality))

    return Metric(value, int(judged.sum()))


def fit_quality_and_bias(wins: np.ndarray, longer: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(quality, bias), each (resamples,), by Newton's method; NaN where a resample has no row. weights: (resamples, n)."""
    rows, won = weights.sum(1), weights @ wins
    one_sided = (won <= 0) | (won >= rows)
    quality, bias = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(MAX_ITERATIONS):
        chance = 1 / (1 + np.exp(-(quality[:, None] + bias[:, None] * longer)))
        error, curve = weights * (wins - chance), weights * chance * (1 - chance)
        slopes = error.sum(1), error @ longer - bias
        a, b, c = curve.sum(1), curve @ longer, curve @ longer**2 + 1
        # a one-sided resample has no maximum likelihood: its quality is set to the limit below
        whole = np.where(one_sided, 1.0, a * c - b * b)
        steps = (c * slopes[0] - b * slopes[1]) / whole, (a * slopes[1] - b * slopes[0]) / whole
        # a step of more than 2 overshoots where the curve is flat
        quality, bias = (
            old + np.where(one_sided, 0, np.clip(step, -2, 2)) for old, step in zip((quality, bias), steps, strict=True)
        )
        if max(np.abs(np.where(one_sided, 0, step)).max(initial=0) for step in steps) < TOLERANCE:
            break
    quality = np.where(one_sided, np.where(won > 0, SATURATED_QUALITY, -SATURATED_QUALITY), quality)
    return np.where(rows > 0, quality, np.nan), bias
