"""Whether GRPO gets further on prompts that `difficulty` keeps than on all of them, in the same number of optimizer steps.

    python benchmarks/difficulty.py --seeds 7 8 9 --out docs/results.md

In a temporary clone of HEAD, once a seed, in one process: the sample's SFT in short, then for each number of steps two trainings from it with
the same settings, on `problems` and on `kept`, which is the same raw file with a rule. Every model answers the same held-out prompts,
greedily. Nothing is tuned per seed.
"""

import argparse
import importlib
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
ARMS = ("problems", "kept")
RULE = {"from": "sft", "samples": 8, "keep": [0.1, 0.9]}
MARKS = "<!-- difficulty -->", "<!-- /difficulty -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--rows", type=int, default=1000, help="`max_rows` of the prompts")
    parser.add_argument("--sft", type=int, default=600, help="optimizer steps of the SFT")
    parser.add_argument("--out", type=Path, help="the page to write; its table replaces what stands between the marks")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)  # of the process that builds, in the clone
    arguments = parser.parse_args()
    if arguments.seed is not None:
        print(json.dumps(build(arguments.seed, arguments.steps, arguments.rows, arguments.sft)))
        return
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    found = {}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
            words = [
                "--seed",
                str(seed),
                "--rows",
                str(arguments.rows),
                "--sft",
                str(arguments.sft),
                "--steps",
                *map(str, arguments.steps),
            ]
            command = [sys.executable, "-m", "benchmarks.difficulty", *words]
            done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
            found[seed] = json.loads(done.stdout.splitlines()[-1])
        print(seed, json.dumps(found[seed]), flush=True)
    text = tables(found, commit, arguments.steps)
    print(text)
    if arguments.out:
        page = arguments.out.read_text(encoding="utf-8")
        before, after = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
        arguments.out.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def build(seed, counts, rows, sft):
    """{prompts: {arm: how many}, seconds: CPU of asking, start: reward of the SFT model, <arm><steps>: [reward, share of silent groups]}."""
    yaml, path = YAML(typ="safe", pure=True), Path("params.yaml")
    params = yaml.load(path) | {"seed": seed, "gates": [], "difficulty": {"kept": RULE}}
    grpo, problems = params["methods"]["grpo"], params["datasets"]["problems"] | {"max_rows": rows}
    params["datasets"] = {"chat": params["datasets"]["chat"], "problems": problems, "kept": problems}
    steps = {
        f"{arm}{count}": grpo | {"dataset": arm, "args": grpo["args"] | {"max_steps": count}, "rollouts": {"every": 1}}
        for arm in ARMS
        for count in counts
    }
    params["steps"] = {
        "sft": params["methods"]["sft"] | {"args": params["methods"]["sft"]["args"] | {"max_steps": sft}}
    } | steps
    with open(path, "w", encoding="utf-8") as file:
        yaml.dump(params, file)
    run("check")
    run("base")
    for stage in ("ingest", "validate"):
        for name in params["datasets"]:
            run(stage, name)
    run("pin")
    for name in params["datasets"]:
        run("curate", name)
    run("collect")
    run("preflight")
    run("train", "sft")
    before = time.process_time()
    run("difficulty", "kept")
    seconds = time.process_time() - before
    run("keep", "kept")
    for name in steps:
        run("train", name)
    return {"prompts": prompts(), "seconds": seconds, "start": reward("sft")} | {
        name: [reward(name), silent(name)] for name in steps
    }


def run(stage, *name):
    importlib.import_module(f"stages.{stage}").main(*name)


def prompts():
    import pyarrow.parquet as pq

    checks = pq.read_table("data/kept/kept/rows.parquet", columns=["check"])["check"]
    return {"problems": len(checks), "kept": checks.null_count}


def reward(model):
    """The share of held-out prompts that a model answers rightly, which are the same in both datasets."""
    import pyarrow.parquet as pq

    from stages.rows.batches import decode_row
    from stages.scoring.generation import generate, load_for_generation
    from validators.rewards import exact_match

    rows = [decode_row(row) for row in pq.read_table("data/eval/problems.parquet").to_pylist()]
    said, _ = generate(load_for_generation(Path("models", model), 128, 24), [row["prompt"] for row in rows])
    return sum(exact_match(said, ground_truth=[row["ground_truth"] for row in rows])) / len(rows)


def silent(step):
    """The share of the groups of a training whose answers all earned the same."""
    import pyarrow.parquet as pq

    groups = {}
    for row in pq.read_table(f"scores/{step}.rollouts.parquet", columns=["group", "reward"]).to_pylist():
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
        wanted = one[f"problems{last}"][0]
        for arm, name in zip(ARMS, ("all", "kept"), strict=True):
            curve = [(0, one["start"])] + [(count, one[f"{arm}{count}"][0]) for count in counts]
            reached = steps_to(curve, wanted)
            values = " | ".join(f"{value:.3f}" for _, value in curve)
            silent_share = one[f"{arm}{last}"][1]
            said = f"{reached:.0f}" if reached is not None else f"not in {last}"
            lines.append(f"| {seed} | {name} | {one['prompts'][arm]:,} | {values} | {silent_share:.0%} | {said} |")
    mean = sum(one["seconds"] for one in found.values()) / len(found)
    samples = next(iter(found.values()))["prompts"]["problems"] * RULE["samples"]
    return "\n".join([*lines, "", f"Asking took {mean:.0f} CPU seconds a seed, for {samples:,} answers."])


def steps_to(curve, wanted):
    """The optimizer steps at which a curve first reaches a reward, between two models by a straight line; None where it does not."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if high >= wanted:
            return after if high == low else before + (after - before) * max(0.0, (wanted - low) / (high - low))
    return None


if __name__ == "__main__":
    main()
