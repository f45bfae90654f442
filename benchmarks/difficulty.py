"""Whether GRPO gets further on prompts that `difficulty` keeps than on all of them, in the same number of optimizer steps.

    python benchmarks/difficulty.py --seeds 7 8 9 --out docs/results.md

Builds the sample in a temporary clone of HEAD, once a seed: an SFT, then for each number of steps two trainings from it with the
same settings, on `problems` and on `kept`, which is the same raw file with a rule. Every model is scored on the same held-out prompts.
Nothing is tuned per seed.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
ARMS = ("problems", "kept")
RULE = {"from": "sft", "samples": 8, "keep": [0.1, 0.9]}
MARKS = "<!-- difficulty -->", "<!-- /difficulty -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--steps", type=int, nargs="+", default=[15, 30, 60, 120])
    parser.add_argument("--out", type=Path, help="the page to write; its table replaces what stands between the marks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=clone, text=True).strip()
        found = {seed: build(clone, seed, arguments.steps) for seed in arguments.seeds}
    text = tables(found, commit, arguments.steps)
    print(text)
    if arguments.out:
        page = arguments.out.read_text(encoding="utf-8")
        before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
        arguments.out.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def build(clone, seed, counts):
    """{"prompts": (kept, of), "seconds": of asking, "start": the SFT model's reward, (arm, steps): (reward, share of silent groups)}."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(clone / "params.yaml") | {"seed": seed, "gates": [], "difficulty": {"kept": RULE}}
    grpo = params["methods"]["grpo"]
    params["datasets"] = {name: params["datasets"][name] for name in ("chat", "problems")} | {"kept": params["datasets"]["problems"]}
    params["steps"] = {"sft": params["methods"]["sft"]} | {
        f"{arm}{count}": grpo | {"dataset": arm, "args": grpo["args"] | {"max_steps": count}, "rollouts": {"every": 1}}
        for arm in ARMS
        for count in counts
    }
    with open(clone / "params.yaml", "w", encoding="utf-8") as file:
        yaml.dump(params, file)
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    subprocess.run(["dvc", "repro", "--quiet"], cwd=clone, check=True, env=os.environ | {"PATH": path})
    return read(clone, counts)


def read(clone, counts):
    import pyarrow.parquet as pq

    checks = pq.read_table(clone / "data/kept/kept/rows.parquet", columns=["check"])["check"]
    times = [json.loads(line) for line in (clone / ".work/times.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [record for record in times if record["stage"] == "difficulty@kept"]
    found = {"prompts": (checks.null_count, len(checks)), "seconds": asked[-1]["cpu_seconds"], "start": reward(clone, "sft")["value"]}
    return found | {(arm, count): (reward(clone, f"{arm}{count}"), silent(clone, f"{arm}{count}")) for arm in ARMS for count in counts}


def reward(clone, model):
    """The reward of a model on the held-out prompts, which are the same in both datasets."""
    return json.loads((clone / f"scores/{model}.json").read_text(encoding="utf-8"))["problems"]["reward"]


def silent(clone, step):
    """The share of the groups of a training whose answers all earned the same."""
    import pyarrow.parquet as pq

    groups = {}
    for row in pq.read_table(clone / f"scores/{step}.rollouts.parquet", columns=["group", "reward"]).to_pylist():
        groups.setdefault(row["group"], set()).add(row["reward"])
    return sum(len(rewards) == 1 for rewards in groups.values()) / len(groups)


def tables(found, commit, counts):
    last = counts[-1]
    lines = [
        f"Commit {commit}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}.",
        "",
        f"| seed | trained on | prompts | reward after 0 | {' | '.join(map(str, counts))} optimizer steps | silent groups | steps to the reward of all prompts after {last} |",
        "|--:|---|--:|--:|" + "--:|" * len(counts) + "--:|--:|",
    ]
    for seed, one in found.items():
        wanted = one["problems", last][0]["value"]
        for arm, name in zip(ARMS, ("all", "kept"), strict=True):
            curve = [(0, one["start"])] + [(count, one[arm, count][0]["value"]) for count in counts]
            reached = steps_to(curve, wanted)
            values = " | ".join(f"{value:.3f}" for _, value in curve)
            prompts = one["prompts"][arm == "problems"]
            said = f"{reached:.0f}" if reached is not None else f"not in {last}"
            lines.append(f"| {seed} | {name} | {prompts:,} | {values} | {one[arm, last][1]:.0%} | {said} |")
    mean = sum(one["seconds"] for one in found.values()) / len(found)
    samples = next(iter(found.values()))["prompts"][1] * RULE["samples"]
    return "\n".join([*lines, "", f"Asking took {mean:.0f} CPU seconds a seed, for {samples:,} answers."])


def steps_to(curve, wanted):
    """The optimizer steps at which a curve first reaches a reward, between two models by a straight line; None where it does not."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if high >= wanted:
            return after if high == low else before + (after - before) * max(0.0, (wanted - low) / (high - low))
    return None


if __name__ == "__main__":
    main()
