"""What `difficulty` of params.yaml may say: on which prompts of a grpo dataset its steps train, by how often a model is right.

    difficulty: {problems: {from: sft, samples: 8, keep: [0.1, 0.9]}}

What is right is said by a function that gives 1 or 0, never by a shaped reward: `by`, or the one of RIGHT_OR_WRONG that the steps
on the dataset are rewarded by. The stages `difficulty` and `keep` measure and sort; this module says what they are told.
"""

import ast

from validators._cautions import PARAMS_FILE, Entry
from validators._trl_fields import trl_default
from validators.problems import Problem, did_you_mean

BINARY_REWARDS = ("exact_match", "numeric_match", "math_verify")
# parameters of a reward function that say nothing of what would be right
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
    """A rule with what it leaves to the steps: what is right, how long an answer may be, how it is sampled. steps: resolved."""
    rewards = [step["rewards"] or [] for step in grpo_steps_on(name, steps).values()]
    found = dict.fromkeys(reward for named in rewards for reward in named if reward in BINARY_REWARDS)
    told = {"by": next(iter(found), BINARY_REWARDS[0])}
    for key, arg in (("max_new_tokens", "max_completion_length"), ("temperature", "temperature")):
        default = trl_default("grpo", arg)
        given = [step["args"].get(arg, default) for step in grpo_steps_on(name, steps).values()]
        told[key] = max((value for value in given if isinstance(value, int | float)), default=default)
    return rule | {key: value for key, value in told.items() if rule[key] is None}


def grpo_steps_on(name: str, steps: dict[str, Entry]) -> Entry:
    """{step: its entry} of the grpo steps on a dataset."""
    return {
        step: given for step, given in steps.items() if (given.get("method"), given.get("dataset")) == ("grpo", name)
    }


def difficulty_problems(data: Entry, functions: dict[str, ast.FunctionDef]) -> list[Problem]:
    """What is wrong with `difficulty`. data: params.yaml without faults of schema there. functions: of validators/rewards.py."""
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
    """Where what is right is not said, said twice, or said by a function that does not look at what would be right."""
    expected = "a function that gives 1 for a right answer and 0 for a wrong one"
    if by is not None and by not in functions:
        return [
            Problem(
                where, f"no reward function {by!r}", "a function of validators/rewards.py", did_you_mean(by, functions)
            )
        ]
    if by is not None:
        asked = {arg.arg for arg in (*functions[by].args.args, *functions[by].args.kwonlyargs)}
        if asked <= ANSWER_PARAMETERS:
            return [
                Problem(
                    where,
                    f"{by} looks at the answer alone, so it cannot tell a right one",
                    expected,
                    f"for example: {BINARY_REWARDS[0]}",
                )
            ]
        return []
    trained = grpo_steps_on(name, steps)
    rewards = dict.fromkeys(reward for step in trained.values() for reward in step.get("rewards") or ())
    found = [reward for reward in rewards if reward in BINARY_REWARDS]
    if len(found) == 1 or not rewards:
        return []
    said = f"the steps on {name!r} are rewarded by {', '.join(rewards)}"
    what = f"of which {len(found)} can say what is right" if found else "of which none is known to say what is right"
    return [
        Problem(
            where, f"{said}, {what}", expected, f"by: {found[0] if found else BINARY_REWARDS[0]}, or one of your own"
        )
    ]


def find_cycle(name: str, rules: dict[str, Entry], steps: dict[str, Entry]) -> list[str]:
    """The way from the model that measures a dataset back to a step on what is kept of it; empty where there is none."""
    ways, seen = [[rules[name]["from"]]], set()
    while ways:
        way = ways.pop()
        step = steps.get(way[-1])
        if step is None or way[-1] in seen:
            continue
        seen.add(way[-1])
        if (step.get("method"), step.get("dataset")) == ("grpo", name):
            return [name, *way]
        ways.append([*way, step.get("from")])
        if step.get("dataset") in rules:
            ways.append([*way, rules[step["dataset"]]["from"]])
    return []
