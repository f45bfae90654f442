"""Compares scores with the gates of params.yaml: each gate passes or not, with the reason.

    judge_gates(params, {"align": {"pairs": {"pair_accuracy": {"change": 0.537, "change_low": 0.495, ...}}}})
    -> [GateResult(step="align", on="pairs", ..., passes=True, found="+0.537 (+0.495 to +0.578)")]

`at_least` and `at_most` compare the value; `change_low`, `change_high` and `no_worse` compare the interval of the change against the
parent model. Without an interval these three do not pass: a change of few rows proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.rows.slices import as_text
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.statistics import FEW_ROWS, Item
from validators._gates import BOUNDS, HARNESS_PREFIX, METRICS_OF_KIND
from validators.problems import Problem, Problems, did_you_mean

Gate = dict[str, Any]  # an entry of `gates` in params.yaml
Scores = dict[str, dict[str, Item]]  # {dataset: {metric: item}} of one step


@dataclass(frozen=True)
class GateResult:
    """One gate for one step. found: the score as text. missing: why the score cannot be judged, "" where it can."""

    step: str
    on: str
    metric: str
    rule: str
    passes: bool
    found: str
    missing: str
    waived: str | None

    @property
    def name(self) -> str:
        return f"{self.step}, {self.metric} of {self.on}: {self.rule}"


def ship(results: list[GateResult]) -> bool | None:
    """Whether every gate passes or is waived; None where there are no gates."""
    return all(bool(result.passes or result.waived) for result in results) if results else None


def describe_result(entry: dict[str, Any]) -> str:
    """`passes: +0.537 (...)`, `does not pass: ...`, `waived (reason): ...` of an entry of gates.json."""
    score = entry["missing"] or entry["found"]
    if entry["passes"]:
        return f"passes: {score}" + ("; its waiver is not needed" if entry["waived"] else "")
    return f"waived ({entry['waived']}): {score}" if entry["waived"] else f"does not pass: {score}"


def describe_gates(entries: Sequence[dict[str, Any]]) -> str:
    """`ship: 2 of 2 gates pass`, with how many are waived. entries: of gates.json."""
    if not entries:
        return "params.yaml has no gates: nothing is judged"
    passed = sum(entry["passes"] for entry in entries)
    waived = sum(not entry["passes"] and bool(entry["waived"]) for entry in entries)
    shipped = "ship" if passed + waived == len(entries) else "do not ship"
    return f"{shipped}: {passed} of {len(entries)} {'gate passes' if len(entries) == 1 else 'gates pass'}" + (
        f", {waived} waived" if waived else ""
    )


def judge_gates(params: dict[str, Any], scores: dict[str, Scores]) -> list[GateResult]:
    """A GateResult of each gate and step. Raises Problems with every gate whose dataset, metric or slice has no scores.

    params: what the stage reads. scores: of each step.
    """
    results: list[GateResult] = []
    problems: list[Problem] = []
    for number, gate in enumerate(params["gates"]):
        for step in [gate["step"]] if gate["step"] else params["steps"]:
            try:
                results.append(judge_gate(f"gates.{number}", gate, step, params, scores.get(step, {})))
            except Problems as error:
                problems += error.problems
    names = [result.name for result in results]
    problems += [
        Problem("gates", f"judged twice: {name}", "each rule once for a step", "remove one")
        for name in {*names}
        if names.count(name) > 1
    ]
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    return results


def judge_gate(where: str, gate: Gate, step: str, params: dict[str, Any], scores: Scores) -> GateResult:
    on: str = gate["no_worse"] or gate["on"]
    measured = scores.get(on)
    if measured is None and on.startswith(HARNESS_PREFIX) and scores:
        known = [name for name in scores if name.startswith(HARNESS_PREFIX)]
        raise Problems([Problem(where, f"{on} was not scored", "a task with scores", did_you_mean(on, known))])
    metric = gate["metric"] or default_metric(where, on, params["datasets"], measured or {})
    if measured and metric not in measured:
        raise Problems(
            [Problem(where, f"no metric {metric!r} of {on}", "one with scores", did_you_mean(metric, [*measured]))]
        )
    parent, item = params["steps"][step]["from"], (measured or {}).get(metric)
    if gate["slice"] and item:
        item = slice_of(where, gate["slice"], item)
    bound = next((key for key in BOUNDS if gate[key] is not None), "no_worse")
    lower = lower_is_better(metric)
    missing = reason_not_judged(item, bound, on)
    passes = not missing and item is not None and gate_holds(gate, bound, item, lower)
    rule = describe_rule(gate, bound, parent, lower) + slice_clause(gate["slice"])
    value = describe_value(item, bound in ("at_least", "at_most")) if item else ""
    return GateResult(step, on, metric, rule, passes, value, missing, gate["waive"])


def slice_of(where: str, wanted: dict[str, Any], item: Item) -> Item:
    """The slice of a score that a gate names. Raises Problems where the scores have no such slice."""
    (key, value), slices = next(iter(wanted.items())), [each for each in item.get("slices", ()) if "others" not in each]
    text = as_text(value)
    if scored := next((each for each in slices if (each["by"], each["slice"]) == (key, text)), None):
        return scored
    known = [each["slice"] for each in slices if each["by"] == key and each["slice"] is not None]
    hint = did_you_mean(text, known) if known else "the scores have no slices of it"
    raise Problems(
        [
            Problem(
                f"{where}.slice",
                f"no eval row has {key}: {text}, or too many values have more",
                "a slice with scores",
                hint,
            )
        ]
    )


def slice_clause(wanted: dict[str, Any] | None) -> str:
    """The slice of a gate as text, to follow its rule; "" where the gate has none."""
    if not wanted:
        return ""
    key, value = next(iter(wanted.items()))
    return f" where {key} is {as_text(value)}" if value is not None else f" where there is no {key}"


def default_metric(where: str, on: str, datasets: dict[str, Any], measured: dict[str, Item]) -> str:
    """The metric of a gate that names none: the first of the dataset's kind; of a harness task, `acc` or the only one."""
    if on in datasets:
        return METRICS_OF_KIND[datasets[on]["kind"]][0]
    if "acc" in measured or len(measured) == 1:
        return "acc" if "acc" in measured else next(iter(measured))
    raise Problems(
        [Problem(where, f"{on} has several metrics", "metric: one of them", f"known: {', '.join(sorted(measured))}")]
    )


def reason_not_judged(item: Item | None, bound: str, on: str) -> str:
    """Why a score cannot be judged; "" where it can."""
    if item is None:
        return f"{on} was not scored"
    if item["value"] is None:
        return "the score has no value"
    if bound in ("at_least", "at_most"):
        return ""
    if item["change"] is None:
        return "there is no change: the model that it started from was scored on other rows"
    if item["change_low"] is None or item["change_high"] is None:
        few = f"n {item['n']:,}: too few rows" + (" of one class" if item["n"] >= FEW_ROWS else "")
        return f"{item['change']:+.3f}, and no interval: {few}"
    return ""


def gate_holds(gate: Gate, bound: str, item: Item, lower: bool) -> bool:
    """Whether a gate holds for a score. lower: whether lower is better."""
    if bound == "at_least":
        return item["value"] >= gate["at_least"]
    if bound == "at_most":
        return item["value"] <= gate["at_most"]
    if bound == "change_low":
        return item["change_low"] > gate["change_low"]
    if bound == "change_high":
        return item["change_high"] < gate["change_high"]
    return item["change_high"] <= gate["by"] if lower else item["change_low"] >= -gate["by"]


def describe_rule(gate: Gate, bound: str, parent: str, lower: bool) -> str:
    if bound == "no_worse":
        return f"no worse than {parent} by more than {gate['by']:g}" + (" (lower is better)" if lower else "")
    words = {"at_least": "at least", "at_most": "at most", "change_low": "change above", "change_high": "change below"}
    return f"{words[bound]} {gate[bound]:g}" + (f" against {parent}" if bound.startswith("change") else "")


def describe_value(item: Item, of_value: bool) -> str:
    """A value, or its change, with its interval."""
    form, keys = (
        ("{:.3f}", ("value", "low", "high")) if of_value else ("{:+.3f}", ("change", "change_low", "change_high"))
    )
    value, *ends = (None if item[key] is None else form.format(item[key]) for key in keys)
    return str(value) + (f" ({ends[0]} to {ends[1]})" if None not in ends else "")
