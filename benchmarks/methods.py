"""How much each method improves its own metric on the sample, over several seeds.

    python benchmarks/methods.py --seeds 7 8 9 --out docs/results.md

Builds all five methods with `dvc repro` in a temporary clone of HEAD, once a seed: the split, the shuffling and the
training depend on it. Nothing is tuned per seed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
OWN = {
    "sft": ("chat", "exact_match"),
    "dpo": ("pairs", "pair_accuracy"),
    "orpo": ("pairs", "pair_accuracy"),
    "kto": ("feedback", "auc"),
    "grpo": ("problems", "reward"),
}
ALSO = {"exact_match": "chat", "pair_accuracy": "pairs", "auc": "feedback", "reward": "problems"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--out", type=Path, help="the page to write; its table replaces what stands between the marks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=clone, text=True).strip()
        scores = {seed: build(clone, seed) for seed in arguments.seeds}
    text = tables(scores, commit)
    print(text)
    if arguments.out:
        page = arguments.out.read_text(encoding="utf-8")
        before, after = page.split("<!-- table -->")[0], page.split("<!-- /table -->")[1]
        arguments.out.write_text(f"{before}<!-- table -->\n{text}\n<!-- /table -->{after}", encoding="utf-8")


def build(clone, seed):
    """{method: scores} of all five methods, and of the base model, built with one seed."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(clone / "params.yaml") | {"seed": seed}
    params["steps"] = params["methods"]
    params["gates"] = []  # those of the sample name steps of its own
    with open(clone / "params.yaml", "w", encoding="utf-8") as file:
        yaml.dump(params, file)
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    subprocess.run(["dvc", "repro", "--quiet"], cwd=clone, check=True, env=os.environ | {"PATH": path})
    return {name: json.loads((clone / f"scores/{name}.json").read_text(encoding="utf-8")) for name in ("base", *OWN)}


def tables(scores, commit):
    lines = [
        f"Commit {commit}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}.",
        "",
        "| method | metric | seed | eval rows | started from | reached | change, 95% interval |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for method, (dataset, metric) in OWN.items():
        for seed, models in scores.items():
            item = models[method][dataset][metric]
            lines.append(
                f"| {method} | {metric} | {seed} | {item['n']} | {item['value'] - item['change']:.3f} | {item['value']:.3f} "
                f"| {item['change']:+.3f} [{item['change_low']:+.3f}, {item['change_high']:+.3f}] |"
            )
    lines += [
        "",
        "All models on all datasets, the mean of the seeds:",
        "",
        "| model | " + " | ".join(ALSO) + " |",
        "|---" + "|--:" * len(ALSO) + "|",
    ]
    for model in ("base", *OWN):
        means = [
            sum(models[model][dataset][metric]["value"] for models in scores.values()) / len(scores)
            for metric, dataset in ALSO.items()
        ]
        lines.append(f"| {model} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
