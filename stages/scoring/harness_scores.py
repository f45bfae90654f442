"""What the lm-evaluation-harness found, as scores like all others.

    harness_scores({"arc_easy": Ran(...)}, 7, parent) -> {"lm_eval/arc_easy": {"acc": {"value": 0.61, "stderr": 0.02, ...}}}

Where a value is a mean over documents, its change against the model that the step started from is a paired one.
"""

import numpy as np
import pyarrow.compute as pc

from stages.scoring import statistics
from stages.scoring.harness import TaskResult, metric_name


def harness_scores(ran: dict[str, TaskResult], seed: int, parent) -> dict:
    """{"lm_eval/<task>": {metric: summary with "stderr"}}. parent: the scores of the model that this one started from, or None."""
    report = {}
    for task, found in sorted(ran.items()):
        before = parent.filter(pc.equal(parent["dataset"], f"lm_eval/{task}")) if parent else None
        scored = {
            metric: task_summary(
                value, error, found.values["sample_len"], *paired_values(metric, found.documents, before), seed
            )
            for metric, value, error in metrics_of(found.values)
        }
        report |= {f"lm_eval/{task}": scored} if scored else {}  # a group may be a name for its tasks, and no more
    return report


def metrics_of(values):
    """(name, value, standard error or None) of each metric: `acc,none` is `acc`, `exact_match,strict` `exact_match/strict`."""
    for key, value in sorted(values.items()):
        metric, _, by = key.partition(",")
        if by and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            error = values.get(f"{metric}_stderr,{by}")
            yield metric_name(metric, by), float(value), float(error) if isinstance(error, (int, float)) else None


def paired_values(metric, documents, before):
    """(values, the parent's values or None) of a metric's documents, each (rows,); (None, None) where they are no numbers."""
    column = f"lm_eval/{metric}"
    if column not in documents.column_names:
        return None, None
    same = before is not None and column in before.column_names and before["id"].equals(documents["id"])
    return documents[column].to_numpy(), before[column].to_numpy() if same else None


def task_summary(value, error, rows, ours, theirs, seed):
    """The harness's value and standard error as a summary; its change where the value is the mean over documents."""
    low, high = (value - 1.96 * error, value + 1.96 * error) if error is not None else (None, None)
    changes = {}
    if ours is not None and theirs is not None and np.isclose(ours.mean(), value):
        whole = statistics.summary(statistics.mean(ours), statistics.mean(theirs), len(ours), seed)
        changes = {key: whole[key] for key in ("change", "change_low", "change_high")}
    return statistics.score_item(value, low, high, rows, changes) | {"stderr": statistics.round_or_none(error)}
