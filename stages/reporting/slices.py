"""The slices of a dataset for the page: a table for each metric, and in words where a model is worst.

shown_slices({"sft": {"exact_match": {..., "slices": [{"by": "lang", "slice": "de", "n": 60, "value": 0.12, "worst": True, ...}]}}}, score_of)
-> {"worst": ["sft: exact_match is worst where lang is de: ..."], "sliced": [{"name": "exact_match", "lower": False, "models": ["sft"], "rows": [
    {"by": "lang", "name": "de", "n": 60, "scores": [{"value": "0.120", ..., "worst": True}]}]}], "slices": "lang"}
"""

from collections.abc import Callable

from stages.rows.tables import safe_text
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.slices import describe_worst_slice

WIDTH = 80


def slice_tables(models: dict[str, dict], score_of: Callable[[dict, str], dict]) -> dict:
    """{"worst", "sliced", "slices"} of one dataset. models: {model: {metric: item}}. score_of: a score as text."""
    metrics = dict.fromkeys(
        metric for measured in models.values() for metric, item in measured.items() if item.get("slices")
    )
    said = [
        (model, describe_worst_slice(metric, measured[metric]))
        for metric in metrics
        for model, measured in models.items()
        if metric in measured
    ]
    sliced = [metric_table(metric, models, score_of) for metric in metrics]
    keys = dict.fromkeys(row["by"] for table in sliced for row in table["rows"])
    return {
        "worst": [f"{model}: {safe_text(words, 400)}" for model, words in said if words],
        "sliced": sliced,
        "slices": ", ".join(keys),
    }


def metric_table(metric: str, models: dict[str, dict], score_of: Callable[[dict, str], dict]) -> dict:
    """A row for each slice of a metric, with what each model scores there."""
    found = {
        model: {slice_key(each): each for each in measured[metric].get("slices", ())}
        for model, measured in models.items()
        if metric in measured
    }
    rows = {key: each for slices in found.values() for key, each in slices.items()}
    return {
        "name": metric,
        "lower": lower_is_better(metric),
        "models": list(found),
        "rows": [
            {
                "by": each["by"],
                "name": slice_label(each),
                "n": each["n"],
                "scores": [slice_score(slices.get(key), metric, score_of) for slices in found.values()],
            }
            for key, each in rows.items()
        ],
    }


def slice_key(each: dict) -> tuple:
    return each["by"], each["slice"], bool(each.get("others"))


def slice_label(each: dict) -> str:
    """What a slice is called beside its key."""
    if each.get("others"):
        return f"{each['others']:,} other values"
    return f"no {each['by']}" if each["slice"] is None else safe_text(each["slice"], WIDTH)


def slice_score(each: dict | None, metric: str, score_of: Callable[[dict, str], dict]) -> dict | None:
    return score_of(each, metric) | {"worst": bool(each.get("worst"))} if each else None
