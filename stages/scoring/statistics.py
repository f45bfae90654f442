"""Metrics with 95% bootstrap intervals, and paired differences against another model's scores on the same rows.

Every metric is a function of per-row columns and of weights: a bootstrap resample gives each row the number of times
it was drawn. The same resamples serve both models, which makes the difference a paired one.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.
"""

import numpy as np

RESAMPLES = 1000


def ratio(top, bottom):
    """sum(top) / sum(bottom): a mean over tokens where `bottom` counts them, over rows where it is 1."""
    return lambda weights: (weights @ top) / (weights @ bottom)


def mean(values):
    return ratio(values, np.ones(len(values)))


def auc(scores, labels):
    """The chance that a row of label 1 scores higher than one of label 0, ties counted half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    good = labels[order].astype(float)

    def value(weights):
        weights = np.atleast_2d(weights)[:, order]
        positive = np.add.reduceat(weights * good, starts, axis=1)
        negative = np.add.reduceat(weights * (1 - good), starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return np.where(pairs > 0, (positive * below).sum(axis=1) / np.maximum(pairs, 1), np.nan)

    return value


def summary(metric, parent, rows, seed):
    """{"value", "low", "high", "n", "change", "change_low", "change_high"} of a metric.

    metric, parent: functions of weights (RESAMPLES, rows); parent is None for a model that started from nothing.
    """
    resamples = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES).astype(float)
    whole = np.ones((1, rows))
    drawn, value = metric(resamples), float(np.squeeze(metric(whole)))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    changes = {}
    if parent:
        change_low, change_high = np.nanpercentile(drawn - parent(resamples), [2.5, 97.5])
        changes = {
            "change": value - float(np.squeeze(parent(whole))),
            "change_low": change_low,
            "change_high": change_high,
        }
    return figures(value, low, high, rows, changes)


def figures(value, low, high, rows, changes):
    """What the scores file has of a metric; without changes where there is no parent to compare with."""
    found = {
        "value": value,
        "low": low,
        "high": high,
        "n": rows,
        "change": None,
        "change_low": None,
        "change_high": None,
    }
    # NaN, as the AUC of one class, is no JSON
    return {key: number if key == "n" else rounded(number) for key, number in (found | changes).items()}


def rounded(number):
    """A number for the scores file: None where there is none, or none that can be told."""
    return None if number is None or not np.isfinite(number) else round(float(number), 6)
