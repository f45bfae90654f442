"""The results of the lm-evaluation-harness, as scores like all others.

    harness_scores({"arc_easy": TaskResult(...)}, 7, parent) -> {"lm_eval/arc_easy": {"acc": {"value": 0.61, "stderr": 0.02, ...}}}

Where a value is a mean over documents, its change against the parent model is a paired one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.scoring import statistics
from stages.scoring.harness import TaskResult, metric_name


def harness_scores(
    results: dict[str, TaskResult], seed: int, parent: pa.Table | None
) -> dict[str, dict[str, statistics.Item]]:
    """{"lm_eval/<task>": {metric: item with "stderr"}}. parent: the table of scores of the parent model, or None."""
    report = {}
    for task, result in sorted(results.items()):
        before = parent.filter(pc.equal(parent["dataset"], f"lm_eval/{task}")) if parent else None
        scored = {
            metric: task_summary(
                value, error, result.values["sample_len"], *paired_values(metric, result.documents, before), seed
            )
            for metric, value, error in metrics_of(result.values)
        }
        report |= {f"lm_eval/{task}": scored} if scored else {}  # a group may have no metrics of its own
    return report


def metrics_of(values: dict[str, Any]) -> Iterator[tuple[str, float, float | None]]:
    """(name, value, standard error) of each metric. The harness's `acc,none` becomes `acc`, `exact_match,strict` `exact_match/strict`."""
    for key, value in sorted(values.items()):
        metric, _, by = key.partition(",")
        if by and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            error = values.get(f"{metric}_stderr,{by}")
            yield metric_name(metric, by), float(value), float(error) if isinstance(error, (int, float)) else None


def paired_values(
    metric: str, documents: pa.Table, before: pa.Table | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(values, the parent's values or None) of a metric's documents, each (rows,); (None, None) where they are not numbers."""
    column = f"lm_eval/{metric}"
    if column not in documents.column_names:
        return None, None
    if before is None or column not in before.column_names or not before["id"].equals(documents["id"]):
        return documents[column].to_numpy(), None
    return documents[column].to_numpy(), before[column].to_numpy()


def task_summary(
    value: float, error: float | None, rows: int, ours: np.ndarray | None, theirs: np.ndarray | None, seed: int
) -> statistics.Item:
    """The harness's value and standard error as an item; its change where the value is the mean over documents."""
    low, high = (value - 1.96 * error, value + 1.96 * error) if error is not None else (None, None)
    if error == 0 and rows and 0 <= value <= 1:  # all documents are alike
        low, high = statistics.wilson_interval(value, rows)
    changes = {}
    if ours is not None and theirs is not None and np.isclose(ours.mean(), value):
        whole = statistics.summary(statistics.mean(ours), statistics.mean(theirs), len(ours), seed)
        changes = {key: whole[key] for key in ("change", "change_low", "change_high")}
    return statistics.score_item(value, low, high, rows, changes) | {"stderr": statistics.round_or_none(error)}
