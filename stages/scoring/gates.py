"""One gate of params.yaml held against scores: passes or not, with the reason.

    judge(params, {"align": {"pairs": {"pair_accuracy": {"change": 0.537, "change_low": 0.495, ...}}}})
    -> [Verdict(step="align", on="pairs", ..., passes=True, found="+0.537 (+0.495 to +0.578)")]

`at_least` and `at_most` are of the value, `change_low`, `change_high` and `no_worse` of the interval of the change against the model that
the step started from. Where there is no interval, these do not pass: a change of few rows proves nothing.
"""

from dataclasses import dataclass

from stages.rows.slices import as_text
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.statistics import FEW_ROWS
from validators._gates import BOUNDS, HARNESS_PREFIX, METRICS_OF_KIND
from validators.problems import Problem, Problems, did_you_mean


@dataclass(frozen=True)
class GateResult:
    """One gate for one step. found: the score in words. missing: why there is nothing to judge by, "" where there is."""

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


def ship(verdicts: list[GateResult]) -> bool | None:
    """Whether all gates hold that are not waived; None where there are none."""
    return all(verdict.passes or verdict.waived for verdict in verdicts) if verdicts else None


def describe_result(verdict: dict) -> str:
    """`passes: +0.537 (...)`, `does not pass: ...`, `waived (reason): ...` of an entry of gates.json."""
    said = verdict["missing"] or verdict["found"]
    if verdict["passes"]:
        return f"passes: {said}" + ("; its waiver is not needed" if verdict["waived"] else "")
    return f"waived ({verdict['waived']}): {said}" if verdict["waived"] else f"does not pass: {said}"


def describe_gates(verdicts: list[dict]) -> str:
    """`ship: 2 of 2 gates pass`, with how many are waived."""
    if not verdicts:
        return "params.yaml has no gates: nothing is judged"
    passed = sum(verdict["passes"] for verdict in verdicts)
    waived = sum(not verdict["passes"] and bool(verdict["waived"]) for verdict in verdicts)
    shipped = "ship" if passed + waived == len(verdicts) else "do not ship"
    return f"{shipped}: {passed} of {len(verdicts)} {'gate passes' if len(verdicts) == 1 else 'gates pass'}" + (
        f", {waived} waived" if waived else ""
    )


def judge_gates(params: dict, scores: dict) -> list[GateResult]:
    """A Verdict of each gate and step. Raises Problems with every gate on what the scores do not have.

    params: what the stage reads. scores: {step: {dataset: {metric: item}}}.
    """
    verdicts, problems = [], []
    for number, gate in enumerate(params["gates"]):
        for step in [gate["step"]] if gate["step"] else params["steps"]:
            try:
                verdicts.append(judge_gate(f"gates.{number}", gate, step, params, scores.get(step, {})))
            except Problems as error:
                problems += error.problems
    names = [verdict.name for verdict in verdicts]
    problems += [
        Problem("gates", f"judged twice: {name}", "each rule once for a step", "remove one")
        for name in {*names}
        if names.count(name) > 1
    ]
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    return verdicts


def judge_gate(where: str, gate: dict, step: str, params: dict, scores: dict) -> GateResult:
    on = gate["no_worse"] or gate["on"]
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
    return GateResult(
        step, on, metric, describe_rule(gate, bound, parent, lower) + slice_clause(gate["slice"]), not missing and gate_holds(gate, bound, item, lower),
        describe_value(item, bound in ("at_least", "at_most")) if item else "", missing, gate["waive"],
    )  # fmt: skip


def slice_of(where: str, wanted: dict, item: dict) -> dict:
    """The slice of a score that a gate names. Raises Problems where the scores have no such slice."""
    (key, value), slices = next(iter(wanted.items())), [each for each in item.get("slices", ()) if "others" not in each]
    text = as_text(value)
    if found := next((each for each in slices if (each["by"], each["slice"]) == (key, text)), None):
        return found
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


def slice_clause(wanted: dict | None) -> str:
    """A slice in words, behind a rule; nothing where a gate names none."""
    if not wanted:
        return ""
    key, value = next(iter(wanted.items()))
    return f" where {key} is {as_text(value)}" if value is not None else f" where there is no {key}"


def default_metric(where: str, on: str, datasets: dict, measured: dict) -> str:
    """The metric of a gate that names none: the first of the dataset's kind; of the harness, `acc` or the only one."""
    if on in datasets:
        return METRICS_OF_KIND[datasets[on]["kind"]][0]
    if "acc" in measured or len(measured) == 1:
        return "acc" if "acc" in measured else next(iter(measured))
    raise Problems(
        [Problem(where, f"{on} has several metrics", "metric: one of them", f"known: {', '.join(sorted(measured))}")]
    )


def reason_not_judged(item: dict | None, bound: str, on: str) -> str:
    """Why a score cannot be judged by; nothing where it can."""
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


def gate_holds(gate: dict, bound: str, item: dict, lower: bool) -> bool:
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


def describe_rule(gate: dict, bound: str, parent: str, lower: bool) -> str:
    if bound == "no_worse":
        return f"no worse than {parent} by more than {gate['by']:g}" + (" (lower is better)" if lower else "")
    words = {"at_least": "at least", "at_most": "at most", "change_low": "change above", "change_high": "change below"}
    return f"{words[bound]} {gate[bound]:g}" + (f" against {parent}" if bound.startswith("change") else "")


def describe_value(item: dict, of_value: bool) -> str:
    """A value, or its change, with its interval."""
    form, keys = (
        ("{:.3f}", ("value", "low", "high")) if of_value else ("{:+.3f}", ("change", "change_low", "change_high"))
    )
    value, *ends = (None if item[key] is None else form.format(item[key]) for key in keys)
    return str(value) + (f" ({ends[0]} to {ends[1]})" if None not in ends else "")
