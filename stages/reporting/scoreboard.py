"""The scores of all models on all eval sets as tables, and the comparison of steps.

scores/<model>.json as dicts -> plain data for the page

    format_score({"value": 0.399, "low": 0.36, "high": 0.435, "change": 0.399, "change_low": 0.36, "change_high": 0.435, "n": 664},
                 "exact_match") -> {"value": "0.399", ..., "change": "+0.399", "verdict": "better"}
"""

from collections.abc import Iterable
from typing import Any

from stages.reporting.slices import slice_tables
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.statistics import (
    describe_cut_thinking,
    describe_generated_briefly,
    describe_interval,
    describe_verdicts,
)

Item = dict[str, Any]
Metrics = dict[str, Item]
Scores = dict[str, dict[str, Metrics]]  # {model: {dataset: {metric: its values}}}
OWN_METRICS = {"sft": "exact_match", "dpo": "pair_accuracy", "orpo": "pair_accuracy", "kto": "auc", "grpo": "reward"}
LIKELIHOODS = ("loss", "token_accuracy")
COMMON_METRICS = (
    "reward",
    "exact_match",
    "pair_accuracy",
    "auc",
    "loss",
)  # the first one that was measured compares all steps
GENERATED_METRICS = ("exact_match", "rouge_l", "reward")  # of answers, which `max_new_tokens` may cut
PLOT_LEFT, PLOT_WIDTH = 5, 140


def board(
    scores: dict[str, Any],
    steps: dict[str, Any],
    resolved: dict[str, Any],
    exposures: dict[str, Any],
    random: bool = False,
) -> dict[str, Any]:
    """{"scores", "scores_text", "headlines", "common", "compared"} for the page.

    scores: {model: {dataset: {metric: item}} or None}. resolved: {step: its preflight}. exposures: {step: the rows that its training saw}.
    random: the base model has random weights.
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
        "headlines": [line for name, step in steps.items() if (line := headline(name, step, scored, random))],
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


def format_score(item: Item, metric: str) -> Item:
    """A score as text. `verdict` is `better` or `worse` only where the interval of the change excludes zero, and nothing speaks against it.

    said: the verdict in words, also where it is none.
    """
    score: Item = {key: format_value(item.get(key)) for key in ("value", "low", "high")}
    change, low, high = (item.get(key) for key in ("change", "change_low", "change_high"))
    score |= {"change": None if change is None else f"{change:+.3f}"}
    score |= {"change_low": format_change(low), "change_high": format_change(high)}
    score |= {
        "interval": describe_interval(item) or "–",
        "noted": describe_generated_briefly(item) or describe_verdicts(item),
    }
    verdict = None
    if change is not None and low is not None and high is not None and (low > 0 or high < 0):
        verdict = "better" if (change > 0) != lower_is_better(metric) else "worse"
    doubt = doubt_about(item) if verdict == "better" else ""
    unclear = "too few rows to say more" if low is None else "no clear change"
    return score | {"verdict": None if doubt else verdict, "said": doubt or verdict or unclear}


def doubt_about(item: Item) -> str:
    """Why a higher score does not show a better model, in words; "" where it does."""
    if item.get("alike"):
        return "higher, but it says one thing to nearly all"
    low = item["value"] if item.get("low") is None else item["low"]
    if item.get("constant") is not None and low <= item["constant"]:
        return f"higher, but {'length alone' if 'constant_side' in item else 'one answer to all'} would do as well"
    return ""


def format_value(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def format_change(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


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


def headline(name: str, step: Item, scores: Scores, random: bool = False) -> Item | None:
    """The score of a step on its method's own metric, or the dataset's first, and its own dataset; None where that was not scored.

    Where every model scores 0, the headline is about the loss, if there is one; `why` has the reason. random: the base is.
    """
    measured, metric = scores.get(name, {}).get(step["dataset"], {}), OWN_METRICS.get(step["method"])
    if metric == "exact_match" and metric not in measured:  # the dataset has metrics of its own
        metric = next((name for name in measured if name not in LIKELIHOODS), None)
    if metric not in measured:
        return None
    why = why_all_zero(scores, step["dataset"], metric)
    if why and "loss" in measured:
        metric, why = "loss", f"not {metric}: {why}"
    facts = {key: step[key] for key in ("method", "dataset")}
    facts["from"] = "base, which is random" if random and step["from"] == "base" else step["from"]
    return {"step": name, "metric": metric, "score": format_score(measured[metric], metric), "why": why, **facts}


def why_all_zero(scores: Scores, dataset: str, metric: str) -> str:
    """The reason why a metric of generated answers cannot compare models: all score 0. "" where one scores more."""
    items = [found[dataset][metric] for found in scores.values() if metric in found.get(dataset, {})]
    if metric not in GENERATED_METRICS or any(item["value"] for item in items):
        return ""
    cut, answers = (sum(item.get(key) or 0 for item in items) for key in ("cut", "n"))
    thinking = sum(item.get("cut_thinking") or 0 for item in items)
    causes = [f", and evaluate.max_new_tokens cut {cut:,} of {answers:,} answers"] if cut else []
    causes += [f", and {thinking:,} of {answers:,} answers were cut while thinking"] if thinking else []
    return "it is 0 for every model" + "".join(causes)


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
