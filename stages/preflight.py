"""Resolve every step and prove on a CPU that it can be trained, before any step trains.

params seed, launch, base, steps, preflight; data/train.json, data/train/, models/base
    -> preflight/<step>.json, preflight/_findings.json, preflight/_dropped.csv, preflight/_rewards.json

    {"step": "sft", "method": "sft", "dataset": "chat", "rows": 3741, "trained_rows": 3741, "tokens": 91022,
     "learned_tokens": 28419, "optimizer_steps": 468, "length": {"p50": 23, "p95": 41, "p99": 52, "max": 60}, ...}

`train` depends on its own file alone, so an edit of one step leaves the others as they are: what is written here must be
a pure function of data and params, and what trains nothing otherwise (limits, waivers, findings) stands elsewhere. What
depends on the machine is printed, never written. docs/preflight.md has every check in one line.
"""

import csv
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.core.code_lists import reward_code
from stages.core.params import read_params
from stages.dryrun import findings as findings_of
from stages.dryrun.memory import PLACES, estimate, free_bytes, shape_of, size
from stages.dryrun.reward_trials import sample, tried
from stages.dryrun.schedule import optimizer_steps, packed
from stages.dryrun.steps import config_of, marked, resolve, tokenizer_of, weights_of
from stages.dryrun.tokens import Method, measured, stop_tokens, what_is_learned
from stages.rows.batches import origins
from stages.training.models import BASE, load_tokenizer
from validators._preflight import settings
from validators.problems import Problem, Problems

OUT = Path("preflight")


@dataclass
class Report:
    """What preflight knows of a step: what `train` reads, the findings, the rows that TRL drops, what is printed."""

    step: dict
    findings: list = field(default_factory=list)
    dropped: list = field(default_factory=list)
    printed: list = field(default_factory=list)


def main():
    params = read_params()
    limits = settings(params.get("preflight"))
    datasets = json.loads(Path("data/train.json").read_text(encoding="utf-8"))
    tokenizer, shape, codes = load_tokenizer(), shape_of(), reward_code()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    problems, reports = embedding_problems(shape, tokenizer), {}
    for name, step in params["steps"].items():
        try:
            resolved = resolve(name, step, params, limits, codes)
            model = tokenizer_of(name, params["steps"], tokenizer)
            reports[name] = examine(name, resolved, model, shape, limits, step.get("waive") or {})
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    for name, report in reports.items():
        write(f"{name}.json", report.step)
        announce(name, report)
    write("_findings.json", {name: report.findings for name, report in reports.items()})
    write_dropped(reports)
    write("_rewards.json", scored_rewards(params["steps"], datasets, codes))
    device, free = free_bytes()
    if free is not None:
        print(f"preflight: {size(free)} of this machine's {PLACES[device]} are free")


def write(name, report):
    (OUT / name).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_dropped(reports):
    """preflight/_dropped.csv: every row that TRL will not train, though it is in data/train."""
    with open(OUT / "_dropped.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "row"])
        writer.writerows([name, row] for name, report in reports.items() for row in report.dropped)


def announce(name, report):
    """What a person is told of a step: its account, what is unusual, what holds for this machine alone."""
    step = report.step
    print(
        f"preflight {name}: {step['method']} on {step['dataset']}, {step['trained_rows']:,} of {step['rows']:,} rows, "
        f"{step['learned_tokens']:,} of {step['tokens']:,} tokens learned, {step['optimizer_steps']:,} optimizer steps"
    )
    for item in report.findings:
        if item["level"] != "ok":
            print(f"preflight {name}: {item['level']}: {item['check']}: {item['message']}")
    for line in report.printed:
        print(f"preflight {name}: {line}")


# -- what all steps share ---------------------------------------------------------------------------------------------


def scored_rewards(steps, datasets, codes):
    """{dataset: {function: {weight, code}}} that evaluate scores: those of the grpo steps on it, else exact_match alone.

    codes: {function: hash of its code}, so that an edit of a function reaches the scores that use it, and no others.
    """
    scored = {name: {"exact_match": 1.0} for name, dataset in datasets.items() if dataset["kind"] == "grpo"}
    for step in steps.values():
        if step["method"] == "grpo":
            scored[step["dataset"]] = dict(zip(step["rewards"], weights_of(step), strict=True))
    return {
        name: {function: {"weight": weight, "code": codes[function]} for function, weight in weights.items()}
        for name, weights in scored.items()
    }


def embedding_problems(shape, tokenizer):
    """A tokenizer that knows more tokens than the model has vectors for: an index out of range, in the middle of training."""
    tokens = max(tokenizer.get_vocab().values()) + 1
    if tokens <= shape.embedding:
        return []
    found = f"the tokenizer has {tokens:,} tokens, but the model's embedding {shape.embedding:,} rows"
    hint = (
        "take the tokenizer that belongs to the model, or model.resize_token_embeddings(len(tokenizer)) and save both"
    )
    return [Problem(f"{BASE}: preflight.embedding", found, "a row for every token", hint)]


# -- whether it can be trained ----------------------------------------------------------------------------------------


def examine(name, step, tokenizer, shape, limits, waive):
    """The Report of a step. Raises Problems where it cannot be trained."""
    where, path = f"steps.{name}", f"data/train/{step['dataset']}.parquet"
    config = config_of(name, step)
    if step["method"] == "sft":
        tokenizer = marked(where, tokenizer, config)
        step["learns"] = what_is_learned(config)
    method = Method(step["method"], config, tokenizer, stop_tokens(tokenizer))
    found = measured(path, method, where)
    if problems := findings_of.row_problems(where, found, method, path):
        raise Problems(problems)
    trained = found[~found["dropped"]]
    if not len(trained):
        raise Problems([nothing_left(where, step, found, method)])
    if step["method"] == "kto":
        findings_of.both_labels(where, trained)
    report = Report(step | account(where, step, config, found, trained, method))
    report.dropped = origins(path, np.flatnonzero(found["dropped"]))
    report.findings = findings_of.row_findings(found, method, path, shape.context, limits, waive)
    if step["method"] == "grpo":
        try_rewards(report, path, tokenizer, limits, waive)
    report.findings += findings_of.memory_findings(estimate(report.step, shape, config, "cuda"), limits, waive)
    here = estimate(report.step, shape, config, free_bytes()[0])["total"]
    report.printed.append(f"takes about {size(here)} on this machine")
    if problems := findings_of.stopping(report.findings, where):
        raise Problems(problems)
    return report


def try_rewards(report, path, tokenizer, limits, waive):
    """Add to a grpo step's Report what its reward functions do. Raises Problems where one fails."""
    rows, names = sample(path, limits["reward_rows"])
    trials = tried(report.step, rows, names, tokenizer, f"steps.{report.step['step']}")
    report.findings += findings_of.reward_findings(trials, weights_of(report.step), limits, waive)
    report.printed += [f"{trial.function} takes {trial.seconds * 1e3:.3g} ms an answer" for trial in trials]


def nothing_left(where, step, found, method):
    if not len(found):
        return Problem(
            f"{where}: preflight.rows_left",
            f"{step['dataset']!r} has no train rows",
            "some",
            f"tilth ledger {step['dataset']}",
        )
    median = int(np.median(found["prompt"]))
    return Problem(
        f"{where}: preflight.rows_left",
        f"no row of {step['dataset']!r} fits max_length {method.limit}",
        "prompts shorter than that",
        f"the median prompt has {median} tokens; raise args.max_length",
    )


def account(where, step, config, found, trained, method):
    """Rows, tokens and optimizer steps. Raises Problems where the rows make no step at all."""
    lengths = {} if step["method"] != "sft" or not config.packing else {"packed_rows": packed(found["length"], config)}
    steps = optimizer_steps(config, step["method"], lengths.get("packed_rows", len(trained)), step["processes"])
    if not steps:
        found, hint = f"{len(trained)} rows make 0 optimizer steps", "lower per_device_train_batch_size, "
        hint += "gradient_accumulation_steps or num_generations; max_steps: 0 takes none"
        raise Problems([Problem(f"{where}: preflight.optimizer_steps", found, "at least one batch", hint)])
    return {
        "rows": len(found),
        "trained_rows": len(trained),
        "tokens": int(trained["tokens"].sum()),
        "learned_tokens": int(trained["learned"].sum()),
        "optimizer_steps": steps,
        "length": {f"p{share}": int(np.percentile(found["length"], share)) for share in (50, 95, 99)}
        | {"max": int(found["length"].max())},
    } | lengths
