"""Checks of `gates` in params.yaml. A model ships where every gate holds.

    {step: align, on: pairs, metric: pair_accuracy, change_low: 0}    # the whole interval of the change is above 0
    {step: align, on: chat, metric: exact_match, at_least: 0.3}
    {step: align, on: chat, slice: {lang: de}, metric: exact_match, at_least: 0.2}
    {no_worse: lm_eval/arc_easy, by: 0.01}                            # of every step, or of `step`

`stages/gate.py` judges the gates. Names of params.yaml are checked here; names that only the scores have are checked there.
"""

from validators._cautions import PARAMS_FILE, Entry
from validators._judge import WIN_RATES, reasons_not_judged
from validators.problems import Problem, did_you_mean

BOUNDS = ("at_least", "at_most", "change_low", "change_high")
METRICS_OF_KIND = {
    "sft": ("exact_match", "loss", "token_accuracy"),
    "preference": ("pair_accuracy", "margin"),
    "kto": ("auc",),
    "grpo": ("reward",),
}
HARNESS_PREFIX = "lm_eval/"


def gate_problems(data: Entry, rewards: list[str]) -> list[Problem]:
    """Mistakes in the gates. data: params.yaml as plain data. rewards: all functions of validators/rewards.py."""
    problems, numbers = [], {}  # {gate without its waiver: number of the first}
    for number, gate in enumerate(data.get("gates") or ()):
        where = f"{PARAMS_FILE}: gates.{number}"
        problems += key_problems(where, gate) or name_problems(where, gate, data, rewards)
        rule = sorted((key, value) for key, value in gate.items() if key != "waive")
        if repr(rule) in numbers:
            problems.append(
                Problem(where, f"is the same as gates.{numbers[repr(rule)]}", "each gate once", "remove one")
            )
        numbers.setdefault(repr(rule), number)
    return problems


def key_problems(where: str, gate: Entry) -> list[Problem]:
    """Keys that do not go together, and keys that are missing."""
    if gate.get("slice") is not None and len(gate["slice"]) != 1:
        return [
            Problem(
                f"{where}.slice",
                f"{len(gate['slice'])} keys",
                "one key and its value",
                "slice: {lang: de}; null where a row has no such key",
            )
        ]
    bounds = [key for key in BOUNDS if gate.get(key) is not None]
    if gate.get("no_worse") is not None:
        wrong = [key for key in ("on", *BOUNDS) if gate.get(key) is not None]
        if wrong:
            return [Problem(where, f"no_worse with {', '.join(wrong)}", "one or the other", "make two gates of it")]
        hint = "by: 0.01, what may be lost; 0 for nothing"
        return [] if gate.get("by") is not None else [Problem(where, "no_worse without by", "both", hint)]
    if gate.get("by") is not None:
        return [Problem(where, "by without no_worse", "both", "no_worse: the name of a dataset")]
    missing = [key for key in ("step", "on", "metric") if gate.get(key) is None]
    if missing:
        return [
            Problem(
                where, f"without {', '.join(missing)}", "step, on and metric, or no_worse and by", "see docs/gates.md"
            )
        ]
    if len(bounds) != 1:
        found = f"has {', '.join(bounds)}" if bounds else "has no bound"
        return [Problem(where, found, f"one of {', '.join(BOUNDS)}", "a gate for each bound")]
    return []


def name_problems(where: str, gate: Entry, data: Entry, rewards: list[str]) -> list[Problem]:
    """Unknown steps, datasets, tasks, metrics and slices."""
    steps, datasets, problems = data.get("steps") or {}, data.get("datasets") or {}, []
    if gate.get("step") is not None and gate["step"] not in steps:
        problems.append(
            Problem(
                f"{where}.step",
                f"no step {gate['step']!r}",
                "a name under steps",
                did_you_mean(gate["step"], steps) + "; if the step is gone, take its gate away too",
            )
        )
    key = "on" if gate.get("no_worse") is None else "no_worse"
    on, metric = gate[key], gate.get("metric")
    tasks = [
        f"{HARNESS_PREFIX}{task}" for task in ((data.get("evaluate") or {}).get("lm_eval") or {}).get("tasks") or ()
    ]
    if on.startswith(HARNESS_PREFIX) and gate.get("slice"):
        return [*problems, Problem(f"{where}.slice", f"{on} has no slices", "a dataset with slices", "remove it")]
    if on.startswith(HARNESS_PREFIX) and tasks:
        return problems  # only the scores know the tasks of a group and the metrics of a task
    if on not in datasets:
        found, expected = f"no dataset {on!r}", "a name under datasets, or lm_eval/<task> of evaluate.lm_eval"
        return [*problems, Problem(f"{where}.{key}", found, expected, did_you_mean(on, [*datasets, *tasks]))]
    if gate.get("slice"):
        problems += slice_problems(f"{where}.slice", next(iter(gate["slice"])), on, datasets[on])
    known = metrics_of(on, datasets[on], data.get("evaluate") or {}, rewards)
    if metric is not None and known and metric not in known:
        found = f"no metric {metric!r} of {on}"
        hint = why_no_win_rate(metric, on, datasets, data) or did_you_mean(metric, known)
        problems.append(Problem(f"{where}.metric", found, f"a metric of kind {datasets[on]['kind']}", hint))
    return problems


def why_no_win_rate(metric: str, on: str, datasets: dict[str, Entry], data: Entry) -> str:
    """Why a dataset has no win rate; "" for other metrics."""
    if metric not in WIN_RATES:
        return ""
    judge = (data.get("evaluate") or {}).get("judge")
    return reasons_not_judged(judge, {on: datasets[on]})[on] if judge else "evaluate.judge says who judges; it is null"


def slice_problems(where: str, key: str, on: str, dataset: Entry) -> list[Problem]:
    """A key by which the dataset's scores are not sliced. Only the scores know which values a key has."""
    known = ["file", *((dataset.get("slice_by") if isinstance(dataset, dict) else None) or ())]
    if key in known:
        return []
    return [
        Problem(
            where,
            f"{on} is not sliced by {key!r}",
            f"file, or a key of datasets.{on}.slice_by",
            did_you_mean(key, known),
        )
    ]


def metrics_of(name: str, dataset: Entry, evaluate: Entry, rewards: list[str]) -> list[str]:
    """Every metric that `evaluate` may compute for a dataset; no other place lists them. dataset: its entry in params.yaml."""
    kind = dataset.get("kind") if isinstance(dataset, dict) else None
    found = [*METRICS_OF_KIND.get(kind, ()), *(dataset.get("metrics") or () if kind else ())]
    if kind == "grpo":
        found += [f"reward/{each}" for each in rewards]
        found += [f"pass@{k}/{each}" for k in evaluate.get("pass_at_k") or () for each in rewards]
    if kind and (judge := evaluate.get("judge")) and not reasons_not_judged(judge, {name: dataset})[name]:
        found += WIN_RATES
    return found
