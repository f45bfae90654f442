"""Wall time of `train` beside the same job as a bare TRL script (train_bare.py), paired, start-up included.

    python benchmarks/train.py --steps 200 --pairs 5

Builds the parents in a temporary clone of HEAD, then runs both, one right after the other and in turn first, each in a
process of its own. A pair counts only where both wrote the same weights. Goal: the median of the pairs' ratios at most 1.03.
"""

import argparse
import hashlib
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
METHODS = ("sft", "dpo", "orpo", "kto", "grpo")
QUIET = {"HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1", "TOKENIZERS_PARALLELISM": "true"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--lora", action="store_true", help="adapters instead of full weights")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        prepare(clone, arguments)
        print(
            f"{arguments.steps} steps, {arguments.pairs} pairs, {os.cpu_count()} cores, Python {platform.python_version()}\n"
        )
        print("| method | tilth s | bare s | ratio, median | lowest | highest | ratio of CPU time | same weights |")
        print("|---|--:|--:|--:|--:|--:|--:|---|", flush=True)
        for method in arguments.methods:
            print(row(clone, method, arguments.pairs), flush=True)


def prepare(clone, arguments):
    """The clone with its data, its parents and the preflight of a step for each method, none of those trained."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(clone / "params.yaml")
    parent = params["methods"]["sft"] | {
        "lora": None
    }  # trained to the end: what it cannot do at all, grpo cannot learn
    params["steps"] = {"sft": parent}
    params["gates"] = []  # those of the sample name steps of its own
    for name, step in params["methods"].items():
        step = step | {"args": step["args"] | {"max_steps": arguments.steps}}
        params["steps"][f"its_{name}"] = step | ({"lora": {"r": 16, "lora_alpha": 16}} if arguments.lora else {})
    with open(clone / "params.yaml", "w", encoding="utf-8") as file:
        yaml.dump(params, file)
    run(clone, "dvc", "repro", "--quiet", "train@sft")


def run(clone, *command):
    environment = os.environ | QUIET | {"HF_DATASETS_CACHE": str(clone / ".datasets")}
    environment |= {"PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def row(clone, method, pairs):
    """One line of the table: both ways of one method, timed in pairs."""
    ours, bare, same = [], [], True
    for pair in range(pairs):
        ways = [("tilth", ours), ("bare", bare)]
        for way, taken in ways if pair % 2 else reversed(ways):
            taken.append(timed(clone, method, way))
        same &= weights(clone / "models" / f"its_{method}") == weights(clone / "bare")
    wall, cpu = ([a[i] / b[i] for a, b in zip(ours, bare, strict=True)] for i in (0, 1))
    seconds = [statistics.median(wall_s for wall_s, _ in taken) for taken in (ours, bare)]
    return (
        f"| {method} | {seconds[0]:.2f} | {seconds[1]:.2f} | {statistics.median(wall):.3f} | {min(wall):.3f} "
        f"| {max(wall):.3f} | {statistics.median(cpu):.3f} | {'yes' if same else 'NO'} |"
    )


def timed(clone, method, way):
    """(wall, CPU) seconds of one run, from nothing: no checkpoint, no model, no rows that `datasets` has kept of a run before."""
    for path in (".datasets", *((".work", f"models/its_{method}") if way == "tilth" else ("bare",))):
        shutil.rmtree(clone / path, ignore_errors=True)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if way == "tilth":
        run(clone, sys.executable, "-m", "stages", "train", f"its_{method}")
    else:
        run(clone, sys.executable, ROOT / "benchmarks/train_bare.py", f"preflight/its_{method}.json", "bare")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def weights(folder):
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.safetensors"))


if __name__ == "__main__":
    main()
