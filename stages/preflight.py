"""Resolve every step and prove on a CPU that it can be trained, before any step trains.

.build/params/preflight.json, data/train.json, data/train/, models/base
    -> preflight/<step>.json, preflight/_findings.json, _dropped.csv, _unscored.csv, _rewards.json, _xray.json

    {"step": "sft", "method": "sft", "dataset": "chat", "rows": 3741, "trained_rows": 3741, "tokens": 91022,
     "learned_tokens": 28419, "optimizer_steps": 468, "length": {"p50": 23, "p95": 41, "p99": 52, "max": 60}, ...}

`train` depends on its step's file alone, so an edit of one step reruns no other. The file must be a pure function of data and
params. What does not change the training (limits, waivers, findings) stands in other files. What depends on the machine is
printed, never written. docs/preflight.md has every check in one line.
"""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq

from stages.core.code_lists import reward_code_hashes
from stages.core.params import read_params
from stages.core.progress import format_duration
from stages.dryrun import findings as findings_of
from stages.dryrun.duration import SMALL_MODEL, SmallModel, least_seconds, likely_seconds
from stages.dryrun.encodings import record_encodings
from stages.dryrun.findings import Finding
from stages.dryrun.memory import (
    MEMORY_NAMES,
    Shape,
    estimate_memory,
    format_bytes,
    free_bytes,
    fused_logit_tile,
    read_shape,
)
from stages.dryrun.resolved_steps import make_step_config, resolve_step, reward_weights
from stages.dryrun.reward_trials import sample_rows, try_functions
from stages.dryrun.schedule import count_optimizer_steps, count_packed_sequences, epochs_reached
from stages.dryrun.token_counts import ROW_DTYPE, MeasuredRows, Method, measure_rows
from stages.dryrun.xray import xray_samples
from stages.rows.batches import batches, origins
from stages.rows.types import Row
from stages.training.left_out_rows import DROPPED, UNSCORED
from stages.training.messages import FailedProof
from stages.training.models import BASE, renderer
from stages.training.rendering import Renderer
from stages.training.template_settings import read_settings, unread_kwargs_problems
from stages.training.thoughts import thought_parser
from stages.training.trainer_rows import learned_scope, reasoning_by_dataset, scoring_input
from stages.training.types import Config, ResolvedStep, Tokenizer
from validators.problems import Problem, Problems

OUT = Path("preflight")
SHORT_S = 20  # a shorter training is not worth an estimate
SHOWN_SHARE = 0.05  # of the wanted answers: so many that are longer than what is generated are told also where the limit allows them
TIMED_ROWS = 16  # answered at a time where that is timed


@dataclass
class Report:
    """The results of a step. dropped: the rows that are left out, each (place, id, proof, reason). samples: three rows as tokens.

    reached: epochs of its optimizer steps. printed: lines that hold for this machine alone.
    """

    step: ResolvedStep
    findings: list[Finding] = field(default_factory=list)
    dropped: list[tuple[str, str, str, str]] = field(default_factory=list)
    samples: list[Any] = field(default_factory=list)
    reached: float = 1.0
    printed: list[str] = field(default_factory=list)


def main() -> None:
    params = read_params("preflight")
    limits = params["preflight"]
    datasets = json.loads(Path("data/train.json").read_text(encoding="utf-8"))
    render, shape, codes = renderer(), read_shape(), reward_code_hashes()
    evaluate, kwargs = params["evaluate"], params["evaluate"]["chat_template_kwargs"]
    small = SmallModel(BASE, shape.context) if free_bytes()[0] == "cpu" and shape.parameters <= SMALL_MODEL else None
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    problems, reports = embedding_problems(shape, render.tokenizer), {}
    problems += unread_kwargs_problems("evaluate", str(render.tokenizer.chat_template), kwargs)
    for name, step in params["steps"].items():
        try:
            resolved = resolve_step(name, step, params, codes)
            reports[name] = examine_step(name, resolved, render, shape, limits, step["waive"], small)
        except Problems as error:
            problems += error.problems
    for name, report in reports.items():
        print_report(name, report)
        problems += findings_of.gate_problems(report.findings, f"steps.{name}")
    if problems:
        raise Problems(problems)
    for name, report in reports.items():
        write_json(f"{name}.json", report.step)
    write_json("_xray.json", {name: report.samples for name, report in reports.items()}, indent=None)
    write_dropped(reports)
    listed = json.loads(Path("data/eval.json").read_text(encoding="utf-8"))
    of_eval = write_unscored(
        listed,
        renderer(BASE, kwargs) if kwargs else render,
        limits,
        reasoning_by_dataset(params["datasets"]),
        evaluate,
        shape.context,
        small,
    )
    write_json("_findings.json", {name: report.findings for name, report in reports.items()} | {"_eval": of_eval})
    write_json("_rewards.json", scored_rewards(params["steps"], datasets, codes))
    device, free = free_bytes()
    if free is not None:
        print(f"preflight: {format_bytes(free)} of this machine's {MEMORY_NAMES[device]} are free")


def write_json(name: str, content: object, indent: int | None = 2) -> None:
    (OUT / name).write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def write_dropped(reports: Mapping[str, Report]) -> None:
    """preflight/_dropped.csv: every row of data/train that is not trained, with the reason."""
    with open(DROPPED, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "row", "id", "proof", "reason"])
        writer.writerows([name, *row] for name, report in reports.items() for row in report.dropped)


def write_unscored(
    datasets: Mapping[str, Mapping[str, Any]],
    render: Renderer,
    limits: dict[str, Any],
    reasoning: Mapping[str, str],
    evaluate: dict[str, Any],
    context: int,
    small: SmallModel | None = None,
) -> dict[str, list[Finding]]:
    """{dataset: findings of its eval rows}; writes preflight/_unscored.csv: the rows that no model of this base can be scored on.

    reasoning: see `reasoning_by_dataset`. evaluate: of params.yaml. context: the positions of the model, 0 if unknown. small: where
    the base is one.
    """
    findings: dict[str, list[Finding]] = {}
    with open(UNSCORED, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "row", "id", "proof", "reason"])
        for name, listed in datasets.items():
            path = f"data/eval/{name}.parquet"
            measured = measure_eval_rows(path, listed["kind"], render, reasoning[name])
            left_out = measured.left_out
            if left_out:
                share = f"{len(left_out):,} of {measured.count:,} eval rows"
                print(f"preflight: {name}: {share} are not scored: {left_out[0][2]}")
            names = row_names(path, [number for number, _, _ in left_out])
            writer.writerows([name, *row, proof, why] for row, (_, proof, why) in zip(names, left_out, strict=True))
            findings[name] = findings_of.text_findings(measured, path, limits, {})
            if measured.answers:
                cut = findings_of.cut_answers_finding(measured, path, evaluate, limits)
                longer = (
                    f" ({cut['value']:.0%} of the wanted answers are longer)" if cut["value"] >= SHOWN_SHARE else ""
                )
                print(
                    f"preflight: then each model answers the {len(measured.answers):,} eval rows of {name} (evaluate.max_rows of them at most), "
                    f"with up to {evaluate['max_new_tokens']:,} tokens each{longer}: one that does not stop takes them all"
                    + (describe_answering(measured, small, evaluate) if small else "")
                )
                findings[name].append(cut)
            if context:
                findings[name].append(findings_of.eval_context_finding(measured, path, context, evaluate, limits))
            for item in findings[name]:
                if item["level"] != "ok":
                    print(f"preflight, eval rows of {name}: {item['level']}: {item['check']}: {item['message']}")
    return findings


def describe_answering(measured: MeasuredRows, small: SmallModel, evaluate: dict[str, Any]) -> str:
    """How long a small model takes to answer rows to the last token; "" of a short time."""
    tokens = evaluate["max_new_tokens"] + (evaluate["max_thinking_tokens"] or 0)
    prompts = [prompt for _, prompt, _ in measured.lengths]
    seconds = tokens * small.decode_seconds(TIMED_ROWS, round(sum(prompts) / len(prompts))) * 100 / TIMED_ROWS
    if seconds * len(prompts) / 100 < SHORT_S:
        return ""
    return f", here about {format_duration(seconds)} for 100 rows, {TIMED_ROWS} at a time"


def measure_eval_rows(path: str, kind: str, render: Renderer, reasoning: str = "keep") -> MeasuredRows:
    """MeasuredRows of the eval rows of a dataset: those that are left out, and how texts and tokens differ."""
    measured, thoughts = MeasuredRows(pq.read_metadata(path).num_rows, np.zeros(0, ROW_DTYPE)), thought_parser(render)
    with record_encodings(render) as texts:
        for number, row in enumerate(row for rows in batches(path, None) for row in rows):
            texts.clear()
            try:
                scored = scoring_input(kind, row, render, reasoning)
            except FailedProof as error:
                measured.left_out.append((number, error.proof, str(error)))
                continue
            if kind == "grpo":
                [(prompt, _)] = render.encode([scored])
                measured.answers.append((number, (0, truth_tokens(row, render.tokenizer))))
                measured.lengths.append((number, len(prompt), 0))
            elif kind == "sft":
                last = scored[-1].spans[-1]
                measured.answers.append((number, thoughts.lengths(scored[-1].ids[last.start : last.end])))
                measured.lengths.append((number, last.start, max(len(sequence.ids) for sequence in scored)))
            else:
                measured.lengths.append((number, 0, max(len(prompt) + len(answer) for prompt, answer, _ in scored)))
            measured.encodings.check(number, render.tokenizer, texts)
    return measured


def truth_tokens(row: Row, tokenizer: Tokenizer) -> int:
    """The tokens of an answer that is the row's ground truth, with the one that ends it."""
    return len(tokenizer(row["ground_truth"], add_special_tokens=False)["input_ids"]) + 1


def row_names(path: str, numbers: Sequence[int]) -> list[tuple[str, str]]:
    """(`source:line`, id) of the rows of a file at these positions."""
    ids = pq.read_table(path, columns=["id"])["id"].take(np.asarray(numbers, np.int64)).to_pylist()
    return list(zip(origins(path, numbers), ids, strict=True))


def print_report(name: str, report: Report) -> None:
    """Print a step's account, its findings, and what holds for this machine alone."""
    step = report.step
    tokens = f"{step['learned_tokens']:,} of {step['tokens']:,} tokens learned"
    if step["method"] == "grpo":
        tokens = f"{step['tokens']:,} tokens of prompts"
    reached = round(report.reached * step["trained_rows"])
    print(
        f"preflight {name}: {step['method']} on {step['dataset']}, {step['trained_rows']:,} of {step['rows']:,} rows, "
        f"{tokens}, {step['optimizer_steps']:,} optimizer steps"
        + (f", which reach {reached:,} rows" if reached < step["trained_rows"] else "")
    )
    for item in report.findings:
        if findings_of.stops_build(item):
            continue
        # rows that are not trained are always reported
        if item["level"] != "ok" or (report.dropped and item["check"] == "preflight.dropped_share"):
            print(f"preflight {name}: {item['level']}: {item['check']}: {item['message']}")
    if step["method"] == "grpo" and not step.get("tie_prompts"):
        print(
            f"preflight {name}: whether any answer earns more than another is not checked: preflight.tie_prompts is 0"
        )
    if step.get("difficulty"):
        print(
            f"preflight {name}: this counts all rows: `difficulty` sorts them once its model is there, and a part is trained"
        )
    for line in report.printed:
        print(f"preflight {name}: {line}")


# -- what all steps share ---------------------------------------------------------------------------------------------


def scored_rewards(
    steps: Mapping[str, Any], datasets: Mapping[str, Any], codes: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """{dataset: {function: {weight, code}}} that evaluate scores: those of the grpo steps on it, else exact_match alone.

    codes: {function: hash of its code}, so that an edit of a function changes the scores that use it, and no others.
    """
    scored = {name: {"exact_match": 1.0} for name, dataset in datasets.items() if dataset["kind"] == "grpo"}
    for step in steps.values():
        if step["method"] == "grpo":
            scored[step["dataset"]] = dict(zip(step["rewards"], reward_weights(step), strict=True))
    return {
        name: {function: {"weight": weight, "code": codes[function]} for function, weight in weights.items()}
        for name, weights in scored.items()
    }


def embedding_problems(shape: Shape, tokenizer: Tokenizer) -> list[Problem]:
    """A Problem where the tokenizer has more tokens than the model has vectors: training would stop at an index out of range."""
    tokens = max(tokenizer.get_vocab().values()) + 1
    if tokens <= shape.embedding:
        return []
    found = f"the tokenizer has {tokens:,} tokens, but the model's embedding {shape.embedding:,} rows"
    hint = (
        "take the tokenizer that belongs to the model, or model.resize_token_embeddings(len(tokenizer)) and save both"
    )
    return [Problem(f"{BASE}: preflight.embedding", found, "a row for every token", hint)]


# -- whether it can be trained ----------------------------------------------------------------------------------------


def examine_step(
    name: str,
    step: ResolvedStep,
    render: Renderer,
    shape: Shape,
    limits: dict[str, Any],
    waive: Mapping[str, str],
    small: SmallModel | None = None,
) -> Report:
    """The Report of a step. Raises Problems where it cannot be trained. small: the model to time, where the base is small."""
    where, path = f"steps.{name}", f"data/train/{step['dataset']}.parquet"
    config = make_step_config(name, step)
    if step["method"] == "sft":
        step["learns"] = learned_scope(config)
    method = Method(step["method"], config, render, step["overlong"], step["reasoning"])
    measured = measure_rows(path, method)
    if problems := findings_of.row_problems(where, measured, method, path):
        raise Problems(problems)
    if not len(measured.rows):
        raise Problems([no_rows_problem(where, step, measured, path)])
    if step["method"] == "kto":
        findings_of.require_both_labels(where, measured.rows)
    report = Report(cast(ResolvedStep, step | step_account(where, step, config, measured)))
    names = row_names(path, [row for row, _, _ in measured.left_out])
    report.dropped = [(*row, proof, why) for row, (_, proof, why) in zip(names, measured.left_out, strict=True)]
    report.samples = xray_samples(path, measured, method)
    report.findings = findings_of.row_findings(measured, method, path, shape.context, limits, waive)
    report.findings.append(findings_of.date_finding(read_settings(BASE)["date"], limits, waive))
    if step["method"] == "grpo":
        try_rewards(report, path, render.tokenizer, config, limits, waive)
    tile = fused_logit_tile(step["method"])
    report.findings += findings_of.memory_findings(
        estimate_memory(report.step, shape, config, "cuda", tile), limits, waive
    )
    step = report.step
    report.reached = epochs_reached(
        config, step["method"], step.get("packed_rows", step["sequences"]), step["optimizer_steps"], step["processes"]
    )
    device = free_bytes()[0]
    here = f"training takes about {format_bytes(estimate_memory(step, shape, config, device, tile)['total'])} on this machine"
    seconds = least_seconds(step, shape, config, report.reached, device)
    full = f" if each answer has {config.max_completion_length:,} tokens" if step["method"] == "grpo" else ""
    if small and seconds >= SHORT_S / 10:
        if (likely := likely_seconds(step, config, small, report.reached)) >= SHORT_S:
            here += f", and about {format_duration(likely)}{full}"
    elif seconds >= SHORT_S:
        here += f", and at least {format_duration(seconds)}{full}: its matrix products alone"
    report.printed.append(here)
    return report


def try_rewards(
    report: Report, path: str, tokenizer: Tokenizer, config: Config, limits: dict[str, Any], waive: Mapping[str, str]
) -> None:
    """Add to a grpo step's Report the findings of its reward functions. Raises Problems where one fails."""
    rows, names = sample_rows(path, limits["reward_rows"])
    trials = try_functions(report.step, rows, names, tokenizer, f"steps.{report.step['step']}")
    report.findings += findings_of.reward_findings(trials, reward_weights(report.step), limits, waive)
    most = config.max_completion_length
    cut = [name for row, name in zip(rows, names, strict=True) if truth_tokens(row, tokenizer) > most]
    report.findings.append(findings_of.cut_truths_finding(cut, len(rows), most, limits, waive))
    report.printed += [f"{trial.function} takes {trial.seconds * 1e3:.3g} ms an answer" for trial in trials]


def no_rows_problem(where: str, step: ResolvedStep, measured: MeasuredRows, path: str) -> Problem:
    """The Problem of a step without rows: none in data/train, or all of them left out."""
    if not measured.count:
        hint = f"tilth ledger {step['dataset']}"
        return Problem(f"{where}: preflight.rows_left", f"{step['dataset']!r} has no train rows", "some", hint)
    what, hint = findings_of.describe_left_out(measured, path)
    return Problem(f"{where}: preflight.rows_left", f"no row of {step['dataset']!r} is trained: {what}", "some", hint)


def step_account(where: str, step: ResolvedStep, config: Config, measured: MeasuredRows) -> dict[str, Any]:
    """Rows, tokens and optimizer steps. Raises Problems where the rows make no optimizer step."""
    rows = measured.rows
    lengths = (
        {}
        if step["method"] != "sft" or not config.packing
        else {"packed_rows": count_packed_sequences(rows["length"], config)}
    )
    steps = count_optimizer_steps(config, step["method"], lengths.get("packed_rows", len(rows)), step["processes"])
    if not steps:
        what, hint = f"{len(rows)} rows make 0 optimizer steps", "lower per_device_train_batch_size, "
        hint += "gradient_accumulation_steps or num_generations; max_steps: 0 trains nothing"
        raise Problems([Problem(f"{where}: preflight.optimizer_steps", what, "at least one batch", hint)])
    return {
        "rows": measured.count,
        "trained_rows": measured.count - len(measured.left_out),
        "sequences": len(rows),
        "tokens": int(rows["tokens"].sum()),
        "learned_tokens": int(rows["learned"].sum()),
        "optimizer_steps": steps,
        "length": {f"p{share}": int(np.percentile(rows["length"], share)) for share in (50, 95, 99)}
        | {"max": int(rows["length"].max())},
    } | lengths
