"""Metrics with 95% bootstrap intervals, and paired differences against another model's scores on the same rows.

Every metric is a function of per-row columns and of weights: a bootstrap resample gives each row the number of times
it was drawn. The same resamples serve both models, which makes the difference a paired one.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.

Of few rows there is no interval: resamples of three wrong answers are all wrong, and [0, 0] would look certain.
"""

import numpy as np

RESAMPLES = 1000
FEW_ROWS = 20  # below it, resamples say nothing of the rows that were not drawn


def ratio(top, bottom):
    """sum(top) / sum(bottom): a mean over tokens where `bottom` counts them, over rows where it is 1."""

    def value(weights):
        whole = weights @ bottom
        return np.where(whole > 0, (weights @ top) / np.where(whole > 0, whole, 1), np.nan)

    return value


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
    # not a number where one resample has no row of a class, which a handful of such rows is enough to keep from happening
    low, high = np.percentile(drawn, [2.5, 97.5])
    changes = {}
    if parent:
        change_low, change_high = np.percentile(drawn - parent(resamples), [2.5, 97.5])
        changes = {
            "change": value - float(np.squeeze(parent(whole))),
            "change_low": change_low,
            "change_high": change_high,
        }
    return score_item(value, low, high, rows, changes)


def score_item(value, low, high, rows, changes):
    """What the scores file has of a metric; without changes where there is no parent, without intervals where rows are few."""
    if rows < FEW_ROWS:
        low = high = None
        changes = changes | dict.fromkeys(("change_low", "change_high"))
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
    return {key: number if key == "n" else round_or_none(number) for key, number in (found | changes).items()}


def drop_interval_if_few(found, rows):
    """Facts of a metric, without intervals where it judges few rows."""
    return found | (dict.fromkeys(("low", "high", "change_low", "change_high")) if rows < FEW_ROWS else {})


def describe_interval(item):
    """An interval in words: `[0.360, 0.435]`, why there is none, or nothing where there cannot be one."""
    if item["low"] is not None and item["high"] is not None:
        return f"[{item['low']:.3f}, {item['high']:.3f}]"
    if item["value"] is None or item.get("stderr", 0) is None:  # the harness knows no error of some metrics
        return ""
    return f"n {item['n']:,}: too few rows" + (" of one class" if item["n"] >= FEW_ROWS else "")


def describe_cut_answers(item):
    """How many answers were cut, in words, those cut while thinking by themselves; nothing where none was, or none generated."""
    said = []
    if item.get("cut"):
        said.append(f"{item['cut']:,} of {item.get('answers') or item['n']:,} answers cut at max_new_tokens")
    return "; ".join(filter(None, [*said, describe_cut_thinking(item)]))


def describe_cut_thinking(item):
    """How many answers were cut while thinking, and what the others are worth, in words; nothing where none was."""
    if not item.get("cut_thinking"):
        return ""
    rest = "" if item.get("finished") is None else f", {item['finished']:.3f} of the others"
    return f"{item['cut_thinking']:,} of {item.get('answers') or item['n']:,} answers cut while thinking{rest}"


def describe_cut_briefly(item):
    """The same for a narrow column."""
    said = [f"{item['cut']:,} of {item['n']:,} answers cut"] if item.get("cut") else []
    said += [f"{item['cut_thinking']:,} cut while thinking"] if item.get("cut_thinking") else []
    return ", ".join(said)


def describe_verdicts(item):
    """Whose judge says it, against whom, and what of it is doubtful, in words; nothing where no judge does."""
    if "judge" not in item:
        return ""
    found = [f"against {item['against']}, by {item['judge']}"]
    if "flips" in item:
        first = f", {item['first']:,} of them to what is shown first" if item["flips"] else ""
        found.append(f"{item['flips']:,} of {item['n']:,} verdicts flip with the order{first}")
    names = {"ties": "ties", "equal": "of equal answers", "no_verdict": "without a verdict"}
    return "; ".join(found + [f"{item[key]:,} {words}" for key, words in names.items() if item[key]])


def round_or_none(number):
    """A number for the scores file: None where there is none, or none that can be told."""
    return None if number is None or not np.isfinite(number) else round(float(number), 6)
