"""The scores of all models on all eval sets as tables, and the comparison of steps.

scores/<model>.json as dicts -> plain data for the page
"""

from collections.abc import Iterable
from typing import Any

from stages.reporting.headlines import OWN_METRICS, Metrics, Scores, headline, why_all_zero
from stages.reporting.score_text import Item, format_score
from stages.reporting.slices import slice_tables
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.statistics import describe_cut_thinking

COMMON_METRICS = (
    "reward",
    "exact_match",
    "pair_accuracy",
    "auc",
    "loss",
)  # the first one that was measured compares all steps
PLOT_LEFT, PLOT_WIDTH = 5, 140


def board(
    scores: dict[str, Any], steps: dict[str, Any], resolved: dict[str, Any], exposures: dict[str, Any]
) -> dict[str, Any]:
    """{"scores", "scores_text", "common", "compared"} for the page.

    scores: {model: {dataset: {metric: item}} or None}. resolved: {step: its preflight}. exposures: {step: the rows that its training saw}.
    """
    scored = {model: found for model, found in scores.items() if found}
    datasets = list(dict.fromkeys(name for found in scored.values() for name in found))
    tables = [score_table(name, scored) for name in datasets]
    common = common_metric(tables, scored)
    own = {step["dataset"] for step in steps.values()} or datasets
    for table in tables:
        table["folded"] = table["name"] not in own
    return {
        "scores": tables,
        "scores_text": scores_as_text(scored, datasets),
        "common": common,
        "compared": [
            step_comparison(name, step, scored, common, resolved.get(name), exposures.get(name))
            for name, step in steps.items()
        ],
    }


def score_table(dataset: str, scores: Scores) -> dict[str, Any]:
    """{"name", "rows", "metrics": [{"name", "lower", "rows": [{model, score, x, low_x, high_x}]}]} of one dataset, with its slices."""
    models = {model: found[dataset] for model, found in scores.items() if dataset in found}
    metrics = list(dict.fromkeys(metric for found in models.values() for metric in found))
    metric_tables = []
    for metric in metrics:
        items = {model: measured[metric] for model, measured in models.items() if metric in measured}
        rows = [
            {"model": model, "score": format_score(item, metric)} | plot_position(item, items.values())
            for model, item in items.items()
        ]
        metric_tables.append({"name": metric, "lower": lower_is_better(metric), "rows": rows})
    sizes = [item.get("n") or 0 for measured in models.values() for item in measured.values()]
    sliced = {"thinking": thinking_lines(models), **slice_tables(models, format_score)}
    return {"name": dataset, "rows": max(sizes, default=0), "metrics": metric_tables} | sliced


def thinking_lines(models: dict[str, Metrics]) -> list[str]:
    """One line per model and metric with answers that were cut while thinking."""
    items = [
        (model, metric, describe_cut_thinking(item))
        for model, measured in models.items()
        for metric, item in measured.items()
    ]
    return [f"{model}, {metric}: {text}" for model, metric, text in items if text]


def plot_position(item: Item, items: Iterable[Item]) -> dict[str, float | None]:
    """The place of a value and its interval on the scale that all models of a metric share."""
    ends = [item.get(key) for item in items for key in ("low", "high", "value")]
    ends = [end for end in ends if end is not None]
    low, high = min(ends, default=0), max(ends, default=1)
    if low >= 0 and high <= 1:  # a share: show the whole scale
        low, high = 0, 1

    def x(key: str) -> float | None:
        value = item.get(key)
        value = item.get("value") if value is None else value
        return None if value is None else round(PLOT_LEFT + PLOT_WIDTH * (value - low) / ((high - low) or 1), 1)

    return {"x": x("value"), "low_x": x("low"), "high_x": x("high")}


def scores_as_text(scores: Scores, datasets: list[str]) -> str:
    """All scores as lines of cells, separated by tabs."""
    keys = ["value", "low", "high", "n", "change", "change_low", "change_high"]
    rows = [
        [dataset, metric, model, *("" if item.get(key) is None else str(item[key]) for key in keys)]
        for dataset in datasets
        for model, found in scores.items()
        for metric, item in found.get(dataset, {}).items()
    ]
    rows.sort(key=lambda row: (datasets.index(row[0]), row[1]))
    return "\n".join("\t".join(row) for row in [["dataset", "metric", "model", *keys], *rows])


# -- steps compared -----------------------------------------------------------------------------------------------


def common_metric(tables: list[Item], scores: Scores) -> dict[str, str] | None:
    """{"dataset", "metric"} that all models share: the first of COMMON_METRICS, which is nearest to a model's use."""
    for metric in COMMON_METRICS:
        for table in tables:
            if any(item["name"] == metric for item in table["metrics"]) and not why_all_zero(
                scores, table["name"], metric
            ):
                return {"dataset": table["name"], "metric": metric}
    return None


def step_comparison(
    name: str, step: Item, scores: Scores, common: dict[str, str] | None, resolved: Item | None, exposure: Item | None
) -> Item:
    line, measured = headline(name, step, scores), scores.get(name, {})
    shared = measured.get(common["dataset"], {}).get(common["metric"]) if common else None
    return {
        "step": name,
        "method": step["method"],
        "from": step["from"],
        "rows": (exposure or {}).get("seen"),
        "optimizer_steps": (resolved or {}).get("optimizer_steps"),
        "rows_seen": (exposure or {}).get("times"),
        "tokens_seen": (exposure or {}).get("tokens"),
        "own": line["score"] if line else None,
        "own_metric": line["metric"] if line else OWN_METRICS.get(step["method"]),
        "common": format_score(shared, common["metric"]) if common and shared else None,
    }
