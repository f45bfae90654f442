"""The five methods on the same data from the same start: what each costs and what comes of it.

    python benchmarks/compare.py --out docs/methods.md

Builds recipes/compare.yaml in a temporary clone of HEAD, each training by itself so that it can be timed, and writes the
table of the report's section "Steps compared" with the times beside it. CPU seconds are those of the stage with its
start-up and DVC's, with one thread; they hold on a machine that has other things to do, where seconds on the clock do not.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
METRICS = {"exact_match": "chosen", "reward": "asked", "pair_accuracy": "pairs", "auc": "rated"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the page to write; its table replaces what stands between the marks")
    parser.add_argument("--keep", type=Path, help="leave the build here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = arguments.keep or Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=clone, text=True).strip()
        (clone / "params.yaml").write_bytes((clone / "recipes/compare.yaml").read_bytes())
        text = table(*build(clone), commit)
    print(text)
    if arguments.out:
        page = arguments.out.read_text(encoding="utf-8")
        before, after = page.split("<!-- table -->")[0], page.split("<!-- /table -->")[1]
        arguments.out.write_text(f"{before}<!-- table -->\n{text}\n<!-- /table -->{after}", encoding="utf-8")


def build(clone):
    """(steps of params.yaml, {step: (seconds, CPU seconds)}, {model: scores}, {step: rows and tokens seen})."""
    from stages.reporting.page import read_json_or_none
    from stages.training.exposure import exposure_path, exposure_summary

    steps = YAML(typ="safe", pure=True).load(clone / "params.yaml")["steps"]
    run(clone, "preflight")
    times = {step: timed(clone, f"train@{step}") for step in steps}
    run(clone, "report")
    here = Path.cwd()
    os.chdir(clone)
    try:
        scores = {model: read_json_or_none(f"scores/{model}.json") for model in ("base", *steps)}
        seen = {step: exposure_summary(exposure_path(step)) for step in steps}
    finally:
        os.chdir(here)
    return steps, times, scores, seen


def run(clone, target):
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    # one thread: on a busy machine, threads that wait for one another use up several times the CPU seconds
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
    subprocess.run(["dvc", "repro", "--quiet", target], cwd=clone, check=True, env=environment)


def timed(clone, target):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run(clone, target)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def table(steps, times, scores, seen, commit):
    lines = [
        f"Commit {commit}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}.",
        "",
        "| step | started from | CPU s | rows seen | tokens seen | "
        + " | ".join(f"{metric} of {name}" for metric, name in METRICS.items())
        + " |",
        "|---|---|--:|--:|--:|" + "---|" * len(METRICS),
    ]
    for model in ("base", *steps):
        given = (
            [model, steps[model]["from"], f"{times[model][1]:.0f}", *counts(seen[model])]
            if model in steps
            else [model, "", "", "", ""]
        )
        lines.append(
            "| " + " | ".join([*given, *(cell(scores[model][name][metric]) for metric, name in METRICS.items())]) + " |"
        )
    return "\n".join(lines)


def counts(seen):
    return [f"{seen[key]:,}" for key in ("times", "tokens")]


def cell(item):
    text = f"{item['value']:.3f} [{item['low']:.3f}, {item['high']:.3f}]"
    if item["change"] is None:
        return text
    clear = item["change_low"] > 0 or item["change_high"] < 0
    return f"{text}, {'**' if clear else ''}{item['change']:+.3f}{'**' if clear else ''}"


if __name__ == "__main__":
    main()
