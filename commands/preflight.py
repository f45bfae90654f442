"""`tilth preflight`: what is known of each step before its training, and what it needs on this machine.

preflight/ -> tables: rows, tokens and lengths; numbers beside their limits; memory, and the time that a reward takes
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.training.types import ResolvedStep

if TYPE_CHECKING:
    from rich.table import Table

    from stages.dryrun.xray import Part
    from stages.training.types import Config, Tokenizer

Name = Annotated[str | None, typer.Argument(help="A name under `steps` of params.yaml; all of them if left out.")]
Dropped = Annotated[bool, typer.Option("--dropped", help="Name every row that is not trained, with the reason.")]
Row = Annotated[
    str | None, typer.Option("--row", help="Show one row of the step as tokens: FILE:LINE of the raw data, or an id.")
]
Answer = Annotated[
    str | None,
    typer.Option("--answer", help="What a grpo step's rewards pay for this answer to --row, or to its first row."),
]
Json = Annotated[bool, typer.Option("--json", help="What the build wrote, as JSON, for scripts.")]
FOLDER = Path("preflight")
MEMORY_COLUMNS = {  # {column: parts of the estimate that it sums}; no more columns fit into a line
    "weights": ["weights", "half copies", "reference"],
    "gradients, optimizer": ["gradients", "optimizer"],
    "activations": ["activations"],
    "logits": ["logits"],
}
Report = ResolvedStep  # what preflight wrote about a step
Finding = dict[str, Any]
TIMED_ANSWERS = 64  # answers that a reward function is timed on


def main(
    step: Name = None, row: Row = None, answer: Answer = None, dropped: Dropped = False, as_json: Json = False
) -> None:
    """Show what is known of each step before its training, what it learns from one row, or what its rewards pay for an answer."""
    reports, findings = read_reports(step)
    if answer is not None:
        show_rewards(reports, step, row, answer, as_json)
    elif row:
        show_row(reports, step, row, as_json)
    elif as_json:
        print(json.dumps({name: report | {"findings": findings[name]} for name, report in reports.items()}, indent=2))
    elif dropped:
        show_dropped(reports)
    else:
        show(reports, findings)


def read_reports(step: str | None) -> tuple[dict[str, Report], dict[str, list[Finding]]]:
    """({step: its report}, {step: findings}). Raises Problems if preflight has not run for these steps."""
    from validators.params import get_section, read_params_yaml
    from validators.problems import Problem, Problems, did_you_mean

    known = get_section(read_params_yaml(), "steps")
    if step and step not in known:
        where = f"tilth preflight {ascii(step)[1:-1]}"
        raise Problems([Problem(where, f"no step {step!r}", "a name under steps", did_you_mean(step, known))])
    names = [step] if step else list(known)
    missing = [name for name in names if not (FOLDER / f"{name}.json").exists()]
    if missing or not (FOLDER / "_findings.json").exists():
        found = f"nothing about {', '.join(missing) or 'the steps'} yet"
        hint = "dvc repro preflight; if that stops, it prints what to repair, and nothing is written"
        raise Problems([Problem(str(FOLDER), found, "what the stage preflight builds", hint)])
    findings = json.loads((FOLDER / "_findings.json").read_text(encoding="utf-8"))
    reports = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    return reports, {name: findings[name] for name in names}


def show_dropped(reports: Mapping[str, Report]) -> None:
    """Print `step: source:line: reason` of every row of data/train that is not trained."""
    from stages.rows.tables import safe_text

    with open(FOLDER / "_dropped.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] in reports]
    for row in rows:
        print(f"{row['step']}: {safe_text(row['row'])}: {safe_text(row['reason'], 400)}")
    print(
        f"{len(rows):,} rows are left out" + ("" if rows else "; how many the optimizer steps reach: tilth preflight")
    )


# -- one row ------------------------------------------------------------------------------------------------------


def show_row(reports: Mapping[str, Report], step: str | None, name: str, as_json: bool) -> None:
    """Print a row of a step as tokens: learned, context, or cut. name: FILE:LINE or an id."""
    from dataclasses import asdict

    from stages.dryrun.xray import xray_row
    from stages.training.messages import FailedProof
    from stages.training.models import renderer
    from stages.training.trl import make_config
    from validators.problems import Problem, Problems

    if not step:
        hint = f"steps: {', '.join(reports)}"
        raise Problems([Problem("tilth preflight --row", "no step", "tilth preflight STEP --row ROW", hint)])
    report = reports[step]
    place, row = find_row(report, name)
    try:
        config = make_config(f"steps.{step}", report, ".work/preflight")
        reasoning = report["reasoning"]
        parts = xray_row(report["method"], row, renderer(), config, report["overlong"], reasoning)
    except FailedProof as error:
        if as_json:
            facts = {"step": step, "row": place, "trained": False, "proof": error.proof, "reason": str(error)}
            print(json.dumps(facts, indent=2))
        else:
            print(f"{step}: {place} is not trained: {error}")
        return
    if as_json:
        facts = {"step": step, "row": place, "trained": True, "parts": [asdict(part) for part in parts]}
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print_parts(step, place, parts, renderer().tokenizer)


def show_rewards(reports: Mapping[str, Report], step: str | None, name: str | None, answer: str, as_json: bool) -> None:
    """Print what each reward function of a grpo step pays for an answer to a row, and their weighted sum.

    name: FILE:LINE or an id; None for the first row. Raises Problems for a step without rewards.
    """
    import math

    from stages.dryrun.resolved_steps import reward_weights
    from stages.rows.tables import safe_text
    from stages.training.models import load_tokenizer
    from stages.training.reward_calls import score_answers
    from validators._answers import answer_of
    from validators._numbers import last_number
    from validators._truths import final_answer
    from validators.problems import Problem, Problems

    report = reports.get(step or "")
    if report is None or report["method"] != "grpo":
        found = f"{step} is a step of method {report['method']}" if report else "no step"
        hint = f"grpo steps: {', '.join(name for name, each in reports.items() if each['method'] == 'grpo') or 'none'}"
        raise Problems([Problem("tilth preflight --answer", found, "the name of a step with rewards", hint)])
    place, row = find_row(report, name)
    functions = report["rewards"]
    paid = score_answers(functions, [row], [answer], load_tokenizer(), f"steps.{step}", [place])[0].tolist()
    values = {function: None if math.isnan(value) else value for function, value in zip(functions, paid, strict=True)}
    weights = dict(zip(functions, reward_weights(report), strict=True))
    total = sum(weights[function] * (value or 0.0) for function, value in values.items())
    truth, facts = row["ground_truth"], {"step": step, "row": place, "answer": answer}
    if as_json:
        print(json.dumps(facts | {"ground_truth": truth, "rewards": values, "reward": total}, ensure_ascii=False))
        return
    print(f"{step}: {place}: the ground truth is {safe_text(repr(truth), 400)}")
    said = answer_of(answer)
    final = final_answer(said)
    number = last_number(said if final is None else final)
    read = [] if final is None else [f"its final answer is {safe_text(repr(final), 400)}"]
    read += [] if number is None else [f"its last number is {number.value * number.scale:g}"]
    print("\n".join(f"  {each}" for each in read or ["it has no number and marks no final answer"]))
    for function, value in values.items():
        pays = "nothing: it does not judge this" if value is None else f"{value:g}"
        print(f"  {function} pays {pays}" + (f", weight {weights[function]:g}" if len(functions) > 1 else ""))
    if len(functions) > 1:
        print(f"  reward {total:g}")


def find_row(report: Report, name: str | None) -> tuple[str, dict[str, Any]]:
    """(`file:line`, the row) of data/train. name: FILE:LINE or the first digits of an id; None for the first row. Raises Problems."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from stages.rows.batches import decode_row
    from stages.training.trl import METHOD_COLUMNS
    from validators.problems import Problem, Problems

    path = f"data/train/{report['dataset']}.parquet"
    keys = pq.read_table(path, columns=["id", "source", "line"])
    source, _, line = (name or "").rpartition(":")
    if source and line.isdigit():
        matches = pc.and_(pc.equal(keys["source"], source), pc.equal(keys["line"], int(line)))
    else:
        matches = pc.starts_with(keys["id"], name or "")
    numbers = pc.indices_nonzero(matches)
    if not len(numbers):
        where, hint = f"tilth preflight --row {name}", f"tilth trace {name} shows what became of it"
        raise Problems([Problem(where, f"no such row in {path}", "FILE:LINE of the raw data, or an id", hint)])
    at = numbers[0].as_py()
    row = pq.read_table(path, columns=METHOD_COLUMNS[report["method"]]).slice(at, 1).to_pylist()[0]
    return f"{keys['source'][at]}:{keys['line'][at]}", decode_row(row)


TOKEN_STYLES = {"learned": "bold green", "context": "", "cut": "red strike"}


def print_parts(step: str, place: str, parts: "Sequence[Part]", tokenizer: "Tokenizer") -> None:
    """Print the sequences of a row, each run of tokens decoded at once: a letter may be several tokens."""
    from itertools import groupby

    from rich.console import Console
    from rich.text import Text

    from stages.dryrun.xray import runs_by_kind
    from stages.rows.tables import safe_text

    console = Console(highlight=False)
    for part in parts:
        counts = {kind: sum(token.kind == kind for token in part.tokens) for kind in TOKEN_STYLES}
        summary = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        console.print(Text(f"{step}: {place}: {part.name}, {len(part.tokens):,} tokens: {summary}", style="bold"))
        for kind, tokens in runs_by_kind(part.tokens):
            line = Text(f"  {kind:<8}{len(tokens):>6,}  ")
            for special, run in groupby(tokens, key=lambda token: token.special):
                style = f"{TOKEN_STYLES[kind]} {'cyan' if special and kind == 'context' else ''}".strip()
                text = tokenizer.decode([token.id for token in run], clean_up_tokenization_spaces=False)
                line.append(safe_text(text, 10_000), style=style)
            console.print(line, soft_wrap=True)


# -- all steps ----------------------------------------------------------------------------------------------------


def show(reports: dict[str, Report], findings: dict[str, list[Finding]]) -> None:
    """Print the tables, and below them the findings in words."""
    from rich.console import Console

    from stages.rows.tables import safe_text

    console = Console(highlight=False)
    findings = findings | {f"eval of {name}": items for name, items in eval_findings(reports).items()}
    for table in (rows_table(reports), length_table(reports), limit_table(findings)):
        console.print(table)
    for name, items in findings.items():
        for item in items:
            if item["level"] != "ok" or len(reports) == 1:  # of a step that is asked for, all that was found
                text = f"{item['level']}: {name}: {item['check']}: {safe_text(item['message'], 400)}"
                console.print(text, markup=False, soft_wrap=True)
    console.print()
    console.print(memory_table(reports))
    for line in reward_timings(reports):
        console.print(line, markup=False)
    if changed := outdated_steps(reports):
        console.print(
            f"params.yaml or the reward code has changed since, for {', '.join(changed)}: dvc repro preflight"
        )


def eval_findings(reports: Mapping[str, Report]) -> dict[str, list[Finding]]:
    """{dataset: findings of its eval rows}, for a table of all steps; {} if the reports are of one step alone."""
    found = json.loads((FOLDER / "_findings.json").read_text(encoding="utf-8"))
    return found.get("_eval", {}) if len(reports) == len(found.keys() - {"_eval"}) else {}


def outdated_steps(reports: Mapping[str, Report]) -> list[str]:
    """The steps whose params or reward code have changed since preflight ran."""
    from stages.code import list_code, reward_code
    from stages.dryrun.resolved_steps import resolve_step
    from validators.params import fill_defaults, read_params_yaml

    params, codes = fill_defaults(read_params_yaml()), reward_code(list_code())
    now = {name: resolve_step(name, params["steps"][name], params, codes) for name in reports}
    return [
        name for name, report in reports.items() if any(report.get(key) != value for key, value in now[name].items())
    ]


def empty_table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> "Table":
    """An empty table: columns of text, then columns of numbers aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(*texts, box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def rows_table(reports: Mapping[str, Report]) -> "Table":
    from stages.dryrun.schedule import rows_reached

    table = empty_table(
        "what each step trains on", ["step", ""], ["rows", "left out", "optimizer steps", "rows they reach"]
    )
    for name, report in reports.items():
        what = f"{report['method']} on {report['dataset']}, from {report['from']}"
        reached = rows_reached(report, step_config(name, report))
        counts = report["rows"], report["rows"] - report["trained_rows"], report["optimizer_steps"], reached
        table.add_row(name, what, *(f"{count:,}" for count in counts))
    return table


def length_table(reports: Mapping[str, Report]) -> "Table":
    shares = ["p50", "p95", "p99", "max"]
    table = empty_table("its tokens, and those of a row", ["step"], ["tokens", "learned", *shares])
    for name, report in reports.items():
        counts = [report["tokens"], report["learned_tokens"], *(report["length"][share] for share in shares)]
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def limit_table(findings: Mapping[str, list[Finding]]) -> "Table":
    """Every number beside its limit; a word says what is above it, not colour alone."""
    from rich.text import Text

    style = {"ok": "green", "warning": "bold yellow", "waived": "cyan"}
    table = empty_table("numbers beside their limits", ["step", "number"], ["found", "limit", ""])
    for name, items in findings.items():
        for item in items:
            limit = "" if item["limit"] is None else f"{item['limit']:g}"
            level = Text(item["level"], style[item["level"]])
            table.add_row(name, item["check"].removeprefix("preflight."), f"{item['value']:g}", limit, level)
        table.add_section()
    return table


def memory_table(reports: Mapping[str, Report]) -> "Table":
    """The estimated peak of memory of each step on this machine, part by part."""
    from stages.dryrun.memory import (
        MEMORY_NAMES,
        estimate_memory,
        format_bytes,
        free_bytes,
        fused_logit_tile,
        read_shape,
    )

    device, free = free_bytes()
    estimates, shape = {}, read_shape()
    for name, report in reports.items():
        config = step_config(name, report)
        estimates[name] = estimate_memory(report, shape, config, device, fused_logit_tile(report["method"]))
    title = f"estimated peak in this machine's {MEMORY_NAMES[device]}" + (
        "" if free is None else f", of which {format_bytes(free)} are free"
    )
    table = empty_table(title, ["step"], [*MEMORY_COLUMNS, "total"])
    for name, found in estimates.items():
        sums = [sum(found[part] for part in parts) for parts in MEMORY_COLUMNS.values()]
        table.add_row(name, *(format_bytes(count) for count in [*sums, found["total"]]))
    return table


def step_config(name: str, report: Report) -> "Config":
    """TRL's config of a step, as on the processes that preflight counted."""
    from stages.dryrun.schedule import assume_processes
    from stages.training.trl import make_config

    with assume_processes(report["processes"]):
        return make_config(f"steps.{name}", report, ".work/preflight")


def reward_timings(reports: Mapping[str, Report]) -> Iterator[str]:
    """How long each reward function takes per answer, measured on the ground truths of TIMED_ANSWERS rows."""
    from stages.dryrun.reward_trials import sample_rows, try_functions
    from stages.training.models import load_tokenizer

    for name, report in reports.items():
        if report["method"] == "grpo":
            rows, names = sample_rows(f"data/train/{report['dataset']}.parquet", TIMED_ANSWERS)
            for trial in try_functions(report, rows, names, load_tokenizer(), f"steps.{name}"):
                yield f"{name}: {trial.function} takes {trial.seconds * 1e3:.3g} ms an answer"
