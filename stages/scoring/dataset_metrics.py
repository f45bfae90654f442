"""The metrics of one dataset from the columns of its rows, with intervals and the change against another model.

metrics("preference", {"chosen_logp": ..., "rejected_logp": ...}, before, {}, 200, seed=7, options={"pass_at_k": None})
-> {"pair_accuracy": {"value": 0.61, "low": ..., "change": 0.11, ...}, "margin": {...}}
"""

import json
from collections import Counter
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from stages.core.params import Params
from stages.scoring import statistics
from stages.scoring.statistics import Item, Metric
from validators.problems import Problem, Problems

Columns = dict[str, pa.Array]  # of the rows of one dataset, each (rows,)
Weights = dict[str, float]  # {reward function: weight}
ALIKE, FEW_ANSWERS = 0.5, 10  # of so many answers or more, the share that is one text


def metrics(
    kind: str,
    columns: Columns,
    before: Columns | None,
    functions: Weights,
    rows: int,
    seed: int,
    options: dict[str, Any],
    own: Sequence[str] = (),
) -> dict[str, Item]:
    """{metric: item} of one dataset. before: the columns of the parent model. own: the dataset's metrics."""
    ours = estimators(kind, numeric_columns(columns), functions, options, own)
    theirs = estimators(kind, numeric_columns(before), functions, options, own) if before else {}
    items = {name: statistics.summary(metric, theirs.get(name), rows, seed) for name, metric in ours.items()}
    counts = answer_counts(columns) if "cut" in columns else {}
    for name in items if counts else ():
        if name in own or name == "reward" or name.startswith("reward/"):  # a metric of the greedy answer
            items[name] |= counts | (finished_value(columns, ours[name]) if counts["cut_thinking"] else {})
    for name in items if "samples_cut_thinking" in columns else ():
        if name.startswith("pass@"):
            cut = int(pa.compute.sum(columns["samples_cut_thinking"]).as_py())
            items[name] |= {"cut_thinking": cut, "answers": rows * options["samples"]}
    for name in own:
        judged = len(columns[name]) - columns[name].null_count
        items[name] |= statistics.drop_interval_if_few({"n": judged, "answers": rows} if judged < rows else {}, judged)
    return items


def slice_metrics(
    kind: str,
    columns: Columns,
    before: Columns | None,
    functions: Weights,
    places: list[int],
    seed: int,
    options: dict[str, Any],
    own: Sequence[str],
) -> dict[str, Item]:
    """{metric: item} of the rows at some places of a dataset, as of a dataset of its own."""
    rows = pa.array(places)
    ours = {name: column.take(rows) for name, column in columns.items()}
    theirs = {name: column.take(rows) for name, column in before.items()} if before else None
    return metrics(kind, ours, theirs, functions, len(places), seed, options, own)


def answer_counts(columns: Columns) -> Item:
    """How many greedy answers were cut, in the answer and while thinking.

    alike: how many are the same text, where nearly all are: a model that says one thing may be right by chance.
    """
    counts: Item = {name: int(np.asarray(columns[name], int).sum()) for name in ("cut", "cut_thinking")}
    texts = Counter(columns["generation"].to_pylist()) if "generation" in columns else Counter()
    if texts.total() >= FEW_ANSWERS:
        answer, alike = texts.most_common(1)[0]
        counts |= {"alike": alike, "alike_answer": answer} if alike >= ALIKE * texts.total() else {}
    return counts


def finished_value(columns: Columns, metric: Metric) -> Item:
    """finished: the metric of the answers that were not cut while thinking."""
    thinking = np.asarray(columns["cut_thinking"], float)
    return {"finished": statistics.round_or_none(float(np.squeeze(metric((1 - thinking)[None]))))}


def numeric_columns(columns: Columns) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(column, float) for name, column in columns.items() if name not in ("generation", "samples")
    }


def estimators(
    kind: str, columns: dict[str, np.ndarray], functions: Weights, options: dict[str, Any], own: Sequence[str]
) -> dict[str, Metric]:
    """{name: Metric} of one dataset. A metric's mean is over the rows that it judges."""
    judged = {name: ~np.isnan(columns[name]) for name in own}
    means = {name: statistics.ratio(np.nan_to_num(columns[name]), each.astype(float)) for name, each in judged.items()}
    if kind == "sft":
        return {
            "loss": statistics.ratio(columns["nll"], columns["tokens"]),
            "token_accuracy": statistics.ratio(columns["right"], columns["tokens"]),
        } | means
    if kind == "preference":
        margin = columns["chosen_logp"] - columns["rejected_logp"]
        return {"pair_accuracy": statistics.mean(statistics.wins(margin)), "margin": statistics.mean(margin)} | means
    if kind == "kto":
        return {"auc": statistics.auc(columns["logp"], columns["label"])}
    # a reward function may return None for a row that it does not judge: it counts as 0, as in TRL
    scored = {f"reward/{name}": np.nan_to_num(columns[f"reward/{name}"]) for name in functions}
    total = cast(np.ndarray, sum(weight * scored[f"reward/{name}"] for name, weight in functions.items()))
    found = {"reward": statistics.mean(total)} | {name: statistics.mean(values) for name, values in scored.items()}
    for k in options["pass_at_k"] or ():
        chances = {name: pass_at_k(columns[f"passed/{name}"], options["samples"], k) for name in functions}
        found |= {f"pass@{k}/{name}": statistics.mean(chance) for name, chance in chances.items()}
    return found | means


def pass_at_k(passed: np.ndarray, count: int, k: int) -> np.ndarray:
    """The chance that one of k answers passes, of each row: unbiased, from `count` answers, of which `passed` passed."""
    return np.array([1 - comb(count - int(right), k) / comb(count, k) for right in passed])


def metric_names(params: Params, dataset: str) -> list[str]:
    """The metrics that a dataset names, or has by its kind."""
    return params["datasets"].get(dataset, {}).get("metrics") or []


def read_rewards(path: str = "preflight/_rewards.json") -> dict[str, Weights]:
    """{dataset: {reward function: weight}}."""
    listed = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: {each: item["weight"] for each, item in functions.items()} for name, functions in listed.items()}


def parent_columns(parent: pa.Table, dataset: str, ids: list[str], columns: Columns) -> Columns:
    """The parent's columns of the same rows in the same order. Raises Problems where it was scored on other rows."""
    theirs = parent.filter(pa.compute.equal(parent["dataset"], dataset))
    missing = set(columns) - set(theirs.column_names)
    if theirs["id"].to_pylist() != ids or missing:
        raise Problems(
            [
                Problem(
                    f"scores of {dataset}",
                    "the model that this one started from was scored on other rows",
                    "the same eval rows for both",
                    "dvc repro",
                )
            ]
        )
    return {name: theirs[name] for name in columns}
