"""What each step reached, by its method's own metric: against the model that it started from, and against the base model.

scores/<model>.json as dicts, scores/<step>.parquet, scores/base.parquet -> plain data for the page and the text

    headlines({"base": {...}, "sft": {...}}, params) -> [{"step": "sft", "metric": "exact_match", "score": {...}, "against": [...], ...}]
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.params import Params
from stages.reporting.score_text import Item, format_score
from stages.scoring import statistics
from stages.scoring.dataset_metrics import estimators, metric_names, numeric_columns, read_rewards

Metrics = dict[str, Item]
Scores = dict[str, dict[str, Metrics]]  # {model: {dataset: {metric: its values}}}
OWN_METRICS = {"sft": "exact_match", "dpo": "pair_accuracy", "orpo": "pair_accuracy", "kto": "auc", "grpo": "reward"}
LIKELIHOODS = ("loss", "token_accuracy")
GENERATED_METRICS = ("exact_match", "rouge_l", "reward")  # of answers, which `max_new_tokens` may cut
MOST_OTHERS = 4  # further changes that are named


def headlines(scores: dict[str, Any], params: Params) -> list[Item]:
    """The headline of each scored step, with how it compares with its parent and with the base, and what else clearly changed.

    scores: {model: {dataset: {metric: item}} or None}.
    """
    scored = {model: found for model, found in scores.items() if found}
    lines, base = [], "base, which is random" if params["base"]["model"] == "tiny" else "base"
    for name, step in params["steps"].items():
        if line := headline(name, step, scored):
            against, first = [], step["from"] == "base"
            if line["score"]["change"]:
                others = other_changes(line, scored[name])
                against.append(line["score"] | {"model": base if first else step["from"], "others": others})
            if not first and (found := change_from_base(line, scored[name], params)):
                against.append(found | {"model": base, "others": []})
            lines.append(line | {"against": against})
    return lines


def headline(name: str, step: Item, scores: Scores) -> Item | None:
    """The score of a step on its method's own metric, or the dataset's first, and its own dataset; None where that was not scored.

    Where every model scores 0, the headline is about the loss, if there is one; `why` has the reason.
    """
    measured, metric = scores.get(name, {}).get(step["dataset"], {}), OWN_METRICS.get(step["method"])
    if metric == "exact_match" and metric not in measured:  # the dataset has metrics of its own
        metric = next((name for name in measured if name not in LIKELIHOODS), None)
    if metric not in measured:
        return None
    why = why_all_zero(scores, step["dataset"], metric)
    if why and "loss" in measured:
        metric, why = "loss", f"not {metric}: {why}"
    facts = {key: step[key] for key in ("method", "dataset", "from")}
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


def change_from_base(line: Item, scores: dict[str, Metrics], params: Params) -> Item | None:
    """The headline's score with its change against the base on the same rows; None where the base was not scored on these.

    scores: {dataset: {metric: item}} of the step's model.
    """
    dataset, metric = line["dataset"], line["metric"]
    ours, theirs = (scored_columns(model, dataset) for model in (line["step"], "base"))
    ids, base_ids = ours.pop("id", None), theirs.pop("id", None)
    if ids is None or base_ids is None or not ids.equals(base_ids):
        return None
    kind, own, functions = params["datasets"][dataset]["kind"], metric_names(params, dataset), {}
    if kind == "grpo":
        functions = read_rewards().get(dataset, {})
    try:
        model, base = (
            estimators(kind, numeric_columns(columns), functions, {"pass_at_k": None}, own)[metric]
            for columns in (ours, theirs)
        )
    except KeyError:  # a metric that compares two models' answers, or one that the base was not scored by
        return None
    changes = statistics.summary(model, base, len(ids), params["seed"])
    return format_score(scores[dataset][metric] | {key: changes[key] for key in changes if "change" in key}, metric)


def scored_columns(model: str, dataset: str) -> dict[str, pa.Array]:
    """{column: (rows,)} of a model's rows of a dataset: `id`, and what is a number; {} where it was not scored."""
    path = Path(f"scores/{model}.parquet")
    if not path.is_file():
        return {}
    table = pq.read_table(path, filters=[("dataset", "=", dataset)])
    numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    kept = [field.name for field in table.schema if field.name == "id" or any(each(field.type) for each in numbers)]
    return {name: table[name] for name in kept if table[name].null_count < len(table)}


def other_changes(line: Item, scores: dict[str, Metrics]) -> list[str]:
    """What else clearly changed against the model that the step started from: on other data only what became worse.

    scores: {dataset: {metric: item}} of the step's model. -> at most ["also worse: ...", "also better: ..."].
    """
    found: dict[str, list[str]] = {"worse": [], "better": []}
    for dataset, metrics in scores.items():
        for metric, item in metrics.items():
            score, here = format_score(item, metric), dataset == line["dataset"]
            if (here and metric == line["metric"]) or metric.startswith("reward/"):  # parts of `reward`
                continue
            if score["verdict"] == "worse" or (here and score["verdict"]):
                found[score["verdict"]].append(f"{metric}{'' if here else f' of {dataset}'} {score['change']}")
    return [f"also {verdict}: {', '.join(shortened(changes))}" for verdict, changes in found.items() if changes]


def shortened(changes: list[str]) -> list[str]:
    more = [f"{len(changes) - MOST_OTHERS:,} more"] if len(changes) > MOST_OTHERS else []
    return changes[:MOST_OTHERS] + more
