"""Checks of `difficulty` in params.yaml: it selects the prompts of a grpo dataset by how often a model answers them rightly.

    difficulty: {problems: {from: sft, samples: 8, keep: [0.1, 0.9]}}

A function that returns 1 or 0 decides what is right, never a shaped reward. It is `by`, or the one of BINARY_REWARDS that the
steps on the dataset use. The stage `difficulty` measures, the stage `keep` selects.
"""

import ast

from validators._cautions import PARAMS_FILE, Entry
from validators._trl_fields import trl_default
from validators.problems import Problem, did_you_mean

BINARY_REWARDS = ("exact_match", "numeric_match", "math_verify")
# parameters of a reward function that do not hold the right answer
ANSWER_PARAMETERS = {
    "completions",
    "completion_ids",
    "prompts",
    "trainer_state",
    "log_extra",
    "log_metric",
    "environments",
}


def fill_rule(name: str, rule: Entry, steps: dict[str, Entry]) -> Entry:
    """A rule with its null keys filled from the steps on the dataset: `by`, `max_new_tokens`, `temperature`.

    steps: with every default filled in.
    """
    rewards = [step["rewards"] or [] for step in grpo_steps_on(name, steps).values()]
    binary = dict.fromkeys(reward for names in rewards for reward in names if reward in BINARY_REWARDS)
    filled = {"by": next(iter(binary), BINARY_REWARDS[0])}
    for key, arg in (("max_new_tokens", "max_completion_length"), ("temperature", "temperature")):
        default = trl_default("grpo", arg)
        values = [step["args"].get(arg, default) for step in grpo_steps_on(name, steps).values()]
        filled[key] = max((value for value in values if isinstance(value, int | float)), default=default)
    return rule | {key: value for key, value in filled.items() if rule[key] is None}


def grpo_steps_on(name: str, steps: dict[str, Entry]) -> Entry:
    """{step: its entry} of the grpo steps on a dataset."""
    return {
        step: entry for step, entry in steps.items() if (entry.get("method"), entry.get("dataset")) == ("grpo", name)
    }


def difficulty_problems(data: Entry, functions: dict[str, ast.FunctionDef]) -> list[Problem]:
    """Mistakes in `difficulty`. data: params.yaml, that section without schema faults. functions: of validators/rewards.py."""
    rules, problems = data.get("difficulty") or {}, []
    for name, rule in rules.items():
        where = f"{PARAMS_FILE}: difficulty.{name}"
        problems += dataset_problems(where, name, data["datasets"])
        problems += keep_problems(f"{where}.keep", rule["keep"])
        problems += correctness_problems(f"{where}.by", name, rule.get("by"), data["steps"], functions)
        if rule["from"] != "base" and rule["from"] not in data["steps"]:
            hint = did_you_mean(rule["from"], ["base", *data["steps"]])
            problems.append(Problem(f"{where}.from", f"no step {rule['from']!r}", "base or a name under steps", hint))
        elif circle := find_cycle(name, rules, data["steps"]):
            found = f"{rule['from']!r} is itself trained on what is kept of {name!r}: {' -> '.join(circle)}"
            problems.append(
                Problem(
                    f"{where}.from", found, "a model of before: base, or a step before the first on it", "from: base"
                )
            )
    return problems


def dataset_problems(where: str, name: str, datasets: dict[str, Entry]) -> list[Problem]:
    if name not in datasets:
        return [Problem(where, f"no dataset {name!r}", "a name under datasets", did_you_mean(name, datasets))]
    if (kind := datasets[name].get("kind")) != "grpo":
        fitting = ", ".join(each for each, given in datasets.items() if given.get("kind") == "grpo") or "none yet"
        return [
            Problem(
                where,
                f"{name!r} is a {kind} dataset, whose answers are given",
                "a dataset of kind grpo",
                f"datasets of that kind: {fitting}",
            )
        ]
    return []


def keep_problems(where: str, keep: list[float]) -> list[Problem]:
    low, high = keep
    if low <= high:
        return []
    return [
        Problem(
            where, f"{low:g} is above {high:g}", "the lowest rate of right answers first", f"keep: [{high:g}, {low:g}]"
        )
    ]


def correctness_problems(
    where: str, name: str, by: str | None, steps: dict[str, Entry], functions: dict[str, ast.FunctionDef]
) -> list[Problem]:
    """Mistakes in `by`: an unknown function, one that does not see the right answer, or none that can be chosen for the user."""
    expected = "a function that gives 1 for a right answer and 0 for a wrong one"
    if by is not None and by not in functions:
        return [
            Problem(
                where, f"no reward function {by!r}", "a function of validators/rewards.py", did_you_mean(by, functions)
            )
        ]
    if by is not None:
        parameters = {arg.arg for arg in (*functions[by].args.args, *functions[by].args.kwonlyargs)}
        if parameters <= ANSWER_PARAMETERS:
            return [
                Problem(
                    where,
                    f"{by} looks at the answer alone, so it cannot tell a right one",
                    expected,
                    f"for example: {BINARY_REWARDS[0]}",
                )
            ]
        return []
    on_dataset = grpo_steps_on(name, steps)
    rewards = dict.fromkeys(reward for step in on_dataset.values() for reward in step.get("rewards") or ())
    binary = [reward for reward in rewards if reward in BINARY_REWARDS]
    if len(binary) == 1 or not rewards:
        return []
    what = f"of which {len(binary)} can say what is right" if binary else "of which none is known to say what is right"
    found = f"the steps on {name!r} are rewarded by {', '.join(rewards)}, {what}"
    return [Problem(where, found, expected, f"by: {[*binary, *BINARY_REWARDS][0]}, or one of your own")]


def find_cycle(name: str, rules: dict[str, Entry], steps: dict[str, Entry]) -> list[str]:
    """The path from the model that measures a dataset to a step that trains on the kept prompts; [] where there is none."""
    paths, visited = [[rules[name]["from"]]], set()
    while paths:
        path = paths.pop()
        step = steps.get(path[-1])
        if step is None or path[-1] in visited:
            continue
        visited.add(path[-1])
        if (step.get("method"), step.get("dataset")) == ("grpo", name):
            return [name, *path]
        paths.append([*path, step.get("from")])
        if step.get("dataset") in rules:
            paths.append([*path, rules[step["dataset"]]["from"]])
    return []
