"""Metrics with 95% bootstrap intervals, and paired differences against another model's scores on the same rows.

A metric is a function of weights, made from per-row columns: a bootstrap resample weighs each row by the number of times
it was drawn. Both models use the same resamples, which makes the difference a paired one.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.

Few rows have no interval: resamples of three wrong answers are all wrong, and [0, 0] would look certain. So would those of a
hundred. A share whose rows are all alike, or of whose rows fewer than five are right or wrong, has Wilson's interval: 0 of 100 is
[0.000, 0.037]. Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from stages.rows.tables import safe_text

RESAMPLES = 1000
FEW_ROWS = 20  # fewer rows have no interval: resamples cannot show the rows that were not drawn
RARE = 5  # with fewer rows of one outcome, percentiles of resamples cover the truth too seldom
Z = NormalDist().inv_cdf(0.975)  # a 95% interval is the value and 1.96 standard errors to either side
Item = dict[str, Any]  # a metric in scores/<model>.json: value, low, high, n, change, change_low, change_high, and more


@dataclass(frozen=True)
class Metric:
    """of: weights (resamples, rows) -> values (resamples,). trials: how many independent rows or pairs a share from 0 to 1 is
    of; None where the metric is no share. binary: each trial is 0 or 1."""

    of: Callable[[np.ndarray], np.ndarray]
    trials: int | None = None
    binary: bool = False

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return self.of(weights)


def ratio(top: np.ndarray, bottom: np.ndarray) -> Metric:
    """sum(top) / sum(bottom): a mean over tokens where `bottom` counts them, over rows where it is 1."""

    def value(weights: np.ndarray) -> np.ndarray:
        whole = weights @ bottom
        return np.where(whole > 0, (weights @ top) / np.where(whole > 0, whole, 1), np.nan)

    share = ((top >= 0) & (top <= bottom)).all()
    binary = bool((np.isin(top, (0, 1)) & np.isin(bottom, (0, 1))).all())
    return Metric(value, int((bottom > 0).sum()) if share else None, binary)


def mean(values: np.ndarray) -> Metric:
    return ratio(values, np.ones(len(values)))


def wins(margins: np.ndarray) -> np.ndarray:
    """1 for each pair that is won, 0 for one that is lost, 0.5 for a margin of 0."""
    return (np.sign(margins) + 1) / 2


def auc(scores: np.ndarray, labels: np.ndarray) -> Metric:
    """The chance that a row of label 1 scores higher than one of label 0, ties counted half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    good = labels[order].astype(float)

    def value(weights: np.ndarray) -> np.ndarray:
        weights = np.atleast_2d(weights)[:, order]
        positive = np.add.reduceat(weights * good, starts, axis=1)
        negative = np.add.reduceat(weights * (1 - good), starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return np.where(pairs > 0, (positive * below).sum(axis=1) / np.maximum(pairs, 1), np.nan)

    # pairs that share no row are independent, and each is in order with the chance that AUC is
    return Metric(value, int(min(labels.sum(), (1 - labels).sum())))


def summary(metric: Metric, parent: Metric | None, rows: int, seed: int) -> Item:
    """{"value", "low", "high", "n", "change", "change_low", "change_high"} of a metric.

    parent: the same metric of the parent model; None for the base model, which has no parent.
    """
    resamples = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES).astype(float)
    whole = np.ones((1, rows))
    drawn, value = metric(resamples), float(np.squeeze(metric(whole)))
    # NaN where one resample has no row of a class; with a handful of rows of each class this does not happen
    low, high = np.percentile(drawn, [2.5, 97.5])
    if metric.trials and (high - low < 1e-9 or (metric.binary and min(value, 1 - value) * metric.trials < RARE)):
        low, high = wilson_interval(value, metric.trials)
    changes = {}
    if parent:
        change_low, change_high = np.percentile(drawn - parent(resamples), [2.5, 97.5])
        changes = {
            "change": value - float(np.squeeze(parent(whole))),
            "change_low": change_low,
            "change_high": change_high,
        }
    return score_item(value, low, high, rows, changes)


def wilson_interval(share: float, trials: int) -> tuple[float, float]:
    """The 95% interval of a share of `trials`. Where trials have values between 0 and 1, it is wider than it need be."""
    middle, reach = share + Z**2 / (2 * trials), Z * sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    whole = 1 + Z**2 / trials
    return max((middle - reach) / whole, 0.0), min((middle + reach) / whole, 1.0)


def score_item(value: float, low: float | None, high: float | None, rows: int, changes: Item) -> Item:
    """A metric as the scores file has it: no change where there is no parent, no interval where rows are few."""
    if rows < FEW_ROWS:
        low = high = None
        changes = changes | dict.fromkeys(("change_low", "change_high"))
    item = {
        "value": value,
        "low": low,
        "high": high,
        "n": rows,
        "change": None,
        "change_low": None,
        "change_high": None,
    }
    # JSON has no NaN, which is the AUC of one class
    return {key: number if key == "n" else round_or_none(number) for key, number in (item | changes).items()}


def drop_interval_if_few(item: Item, rows: int) -> Item:
    """An item, or a part of one, without intervals where the metric judges few rows."""
    return item | (dict.fromkeys(("low", "high", "change_low", "change_high")) if rows < FEW_ROWS else {})


def describe_interval(item: Mapping[str, Any]) -> str:
    """An interval as text: `[0.360, 0.435]`, or why there is none; "" where there cannot be one."""
    if item["low"] is not None and item["high"] is not None:
        return f"[{item['low']:.3f}, {item['high']:.3f}]"
    if item["value"] is None or item.get("stderr", 0) is None:  # the harness has no standard error for some metrics
        return ""
    return f"n {item['n']:,}: too few rows" + (" of one class" if item["n"] >= FEW_ROWS else "")


def describe_generated(item: Mapping[str, Any]) -> str:
    """What is to be said of generated answers: how many are the same or were cut, and what one answer would score; "" for nothing."""
    answers = item.get("answers") or item.get("n")
    parts = [f"{item['alike']:,} of {answers:,} answers {describe_alike(item)}"] if item.get("alike") else []
    parts += [f"{item['cut']:,} of {answers:,} answers cut at max_new_tokens"] if item.get("cut") else []
    return "; ".join(filter(None, [*parts, describe_cut_thinking(item), describe_constant(item)]))


def describe_alike(item: Mapping[str, Any]) -> str:
    """What nearly all answers are: `are '(D)'`."""
    text = item.get("alike_answer")
    if text is None:
        return "are the same"
    return f"are {safe_text(repr(text), 40)}" if text else "have no text"


def describe_constant(item: Mapping[str, Any]) -> str:
    """What always giving one answer, or taking answers by their length, would score; "" where that is little."""
    if not item.get("constant"):
        return ""
    if "constant_side" in item:
        return f"always the {item['constant_side']} answer would score {item['constant']:.3f}"
    return f"always {safe_text(repr(item['constant_answer']), 40)} would score {item['constant']:.3f}"


def describe_cut_thinking(item: Mapping[str, Any]) -> str:
    """How many answers were cut while thinking, and the value of the others; "" where none was cut."""
    if not item.get("cut_thinking"):
        return ""
    rest = "" if item.get("finished") is None else f", {item['finished']:.3f} of the others"
    return f"{item['cut_thinking']:,} of {item.get('answers') or item['n']:,} answers cut while thinking{rest}"


def describe_generated_briefly(item: Mapping[str, Any]) -> str:
    """`describe_generated` for a narrow column."""
    parts = [f"{item['alike']:,} answers {describe_alike(item)}"] if item.get("alike") else []
    parts += [f"{item['cut']:,} of {item.get('answers') or item['n']:,} answers cut"] if item.get("cut") else []
    parts += [f"{item['cut_thinking']:,} cut while thinking"] if item.get("cut_thinking") else []
    return ", ".join(filter(None, [*parts, describe_constant(item)]))


def describe_verdicts(item: Mapping[str, Any]) -> str:
    """Which judge a win rate is by, against which answers, and how many verdicts are doubtful; "" of other metrics."""
    if "judge" not in item:
        return ""
    parts = [f"against {item['against']}, by {item['judge']}"]
    if "flips" in item:
        first = f", {item['first']:,} of them to what is shown first" if item["flips"] else ""
        parts.append(f"{item['flips']:,} of {item['n']:,} verdicts flip with the order{first}")
    names = {"ties": "ties", "equal": "of equal answers", "no_verdict": "without a verdict"}
    return "; ".join(parts + [f"{item[key]:,} {words}" for key, words in names.items() if item[key]])


def round_or_none(number: float | None) -> float | None:
    """A number for the scores file: None for None, NaN and infinity."""
    return None if number is None or not np.isfinite(number) else round(float(number), 6)
