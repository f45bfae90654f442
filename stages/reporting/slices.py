"""The slices of a dataset for the page: one table per metric, and a sentence about each model's worst slice.

slice_tables({"sft": {"exact_match": {..., "slices": [{"by": "lang", "slice": "de", "n": 60, "value": 0.12, "worst": True, ...}]}}}, score_of)
-> {"worst": ["sft: exact_match is worst where lang is de: ..."], "sliced": [{"name": "exact_match", "lower": False, "models": ["sft"], "rows": [
    {"by": "lang", "name": "de", "n": 60, "scores": [{"value": "0.120", ..., "worst": True}]}]}], "slices": "lang"}
"""

from collections.abc import Callable
from typing import Any

from stages.rows.tables import safe_text
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.slices import describe_worst_slice

Item = dict[str, Any]
Metrics = dict[str, Item]
FormatScore = Callable[[Item, str], Item]
WIDTH = 80


def slice_tables(models: dict[str, Metrics], score_of: FormatScore) -> dict[str, Any]:
    """{"worst", "sliced", "slices"} of one dataset. models: {model: {metric: item}}. score_of: formats a score."""
    metrics = dict.fromkeys(
        metric for measured in models.values() for metric, item in measured.items() if item.get("slices")
    )
    sentences = [
        (model, describe_worst_slice(metric, measured[metric]))
        for metric in metrics
        for model, measured in models.items()
        if metric in measured
    ]
    sliced = [metric_table(metric, models, score_of) for metric in metrics]
    keys = dict.fromkeys(row["by"] for table in sliced for row in table["rows"])
    return {
        "worst": [f"{model}: {safe_text(words, 400)}" for model, words in sentences if words],
        "sliced": sliced,
        "slices": ", ".join(keys),
    }


def metric_table(metric: str, models: dict[str, Metrics], score_of: FormatScore) -> dict[str, Any]:
    """One row per slice of a metric, with the score of each model."""
    by_model = {
        model: {slice_key(each): each for each in measured[metric].get("slices", ())}
        for model, measured in models.items()
        if metric in measured
    }
    rows = {key: each for slices in by_model.values() for key, each in slices.items()}
    return {
        "name": metric,
        "lower": lower_is_better(metric),
        "models": list(by_model),
        "rows": [
            {
                "by": each["by"],
                "name": slice_label(each),
                "n": each["n"],
                "scores": [slice_score(slices.get(key), metric, score_of) for slices in by_model.values()],
            }
            for key, each in rows.items()
        ],
    }


def slice_key(each: Item) -> tuple[Any, ...]:
    return each["by"], each["slice"], bool(each.get("others"))


def slice_label(each: Item) -> str:
    """The name of a slice beside its key."""
    if each.get("others"):
        return f"{each['others']:,} other values"
    return f"no {each['by']}" if each["slice"] is None else safe_text(each["slice"], WIDTH)


def slice_score(each: Item | None, metric: str, score_of: FormatScore) -> Item | None:
    return score_of(each, metric) | {"worst": bool(each.get("worst"))} if each else None
