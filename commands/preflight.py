"""`tilth preflight`: what the build found out about each step before training it, and what this machine makes of it.

preflight/ -> tables: rows, tokens and lengths; the numbers beside their limits; memory, and the time that a reward takes
"""

import csv
import json
from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str | None, typer.Argument(help="A name under `steps` of params.yaml; all of them if left out.")]
Dropped = Annotated[bool, typer.Option("--dropped", help="Name every row that TRL will not train.")]
Json = Annotated[bool, typer.Option("--json", help="What the build wrote, as JSON, for scripts.")]
ROOM = Path("preflight")
COLUMNS = {  # parts of the estimate, as many as fit into a line
    "weights": ["weights", "half copies", "reference"],
    "gradients, optimizer": ["gradients", "optimizer"],
    "activations": ["activations"],
    "logits": ["logits"],
}
TIMED = 64  # answers that a reward function is timed on


def main(step: Name = None, dropped: Dropped = False, as_json: Json = False):
    """Show what is known of each step before it trains."""
    reports, findings = built(step)
    if as_json:
        print(json.dumps({name: report | {"findings": findings[name]} for name, report in reports.items()}, indent=2))
    elif dropped:
        show_dropped(reports)
    else:
        show(reports, findings)


def built(wanted):
    """({step: what preflight wrote for train}, {step: findings}). Raises Problems where it has not run as params now are."""
    from validators.params import mapping, read
    from validators.problems import Problem, Problems, did_you_mean

    known = mapping(read(), "steps")
    if wanted and wanted not in known:
        where = f"tilth preflight {ascii(wanted)[1:-1]}"
        raise Problems([Problem(where, f"no step {wanted!r}", "a name under steps", did_you_mean(wanted, known))])
    names = [wanted] if wanted else list(known)
    missing = [name for name in names if not (ROOM / f"{name}.json").exists()]
    if missing or not (ROOM / "_findings.json").exists():
        found = f"nothing about {', '.join(missing) or 'the steps'} yet"
        raise Problems([Problem(str(ROOM), found, "what the stage preflight builds", "dvc repro preflight")])
    findings = json.loads((ROOM / "_findings.json").read_text(encoding="utf-8"))
    reports = {name: json.loads((ROOM / f"{name}.json").read_text(encoding="utf-8")) for name in names}
    return reports, {name: findings[name] for name in names}


def show_dropped(reports):
    """Print `step: source:line` of every row that is in data/train and not trained."""
    from stages.rows.tables import shown

    with open(ROOM / "_dropped.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] in reports]
    for row in rows:
        print(f"{row['step']}: {shown(row['row'])}")
    print(f"{len(rows):,} rows are not trained: their prompt alone fills max_length")


def show(reports, findings):
    """The tables, for a person; what is unusual below them in words."""
    from rich.console import Console

    from stages.rows.tables import shown

    console = Console(highlight=False)
    for table in (account(reports), lengths(reports), numbers(findings)):
        console.print(table)
    for name, items in findings.items():
        for item in items:
            if item["level"] != "ok":
                text = f"{item['level']}: {name}: {item['check']}: {shown(item['message'], 400)}"
                console.print(text, markup=False, soft_wrap=True)
    console.print()
    console.print(machine(reports))
    for line in timings(reports):
        console.print(line, markup=False)
    if changed := outdated(reports):
        console.print(
            f"params.yaml or the reward code says otherwise by now of {', '.join(changed)}: dvc repro preflight"
        )


def outdated(reports):
    """The steps that params.yaml describes otherwise than when preflight ran."""
    from stages.code import lists, reward_code
    from stages.dryrun.steps import resolve
    from validators._preflight import settings
    from validators.params import read

    params = read()
    limits = settings(params.get("preflight"))
    codes = reward_code(lists())
    now = {name: resolve(name, params["steps"][name], params, limits, codes) for name in reports}
    return [
        name for name, report in reports.items() if any(report.get(key) != value for key, value in now[name].items())
    ]


def table_of(title, texts, numbers):
    """An empty table with columns of texts, then columns of numbers on the right."""
    from rich import box
    from rich.table import Table

    table = Table(*texts, box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def account(reports):
    table = table_of("what each step trains on", ["step", ""], ["rows", "not trained", "optimizer steps"])
    for name, report in reports.items():
        what = f"{report['method']} on {report['dataset']}, from {report['from']}"
        counts = report["rows"], report["rows"] - report["trained_rows"], report["optimizer_steps"]
        table.add_row(name, what, *(f"{count:,}" for count in counts))
    return table


def lengths(reports):
    shares = ["p50", "p95", "p99", "max"]
    table = table_of("its tokens, and those of a row", ["step"], ["tokens", "learned", *shares])
    for name, report in reports.items():
        counts = [report["tokens"], report["learned_tokens"], *(report["length"][share] for share in shares)]
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def numbers(findings):
    """Every number beside its limit; what is above it stands out by its word, not by colour alone."""
    from rich.text import Text

    style = {"ok": "green", "warning": "bold yellow", "waived": "cyan"}
    table = table_of("numbers beside their limits", ["step", "number"], ["found", "limit", ""])
    for name, items in findings.items():
        for item in items:
            limit = "" if item["limit"] is None else f"{item['limit']:g}"
            level = Text(item["level"], style[item["level"]])
            table.add_row(name, item["check"].removeprefix("preflight."), f"{item['value']:g}", limit, level)
        table.add_section()
    return table


def machine(reports):
    """The estimate of each step's peak on this machine, part by part."""
    from stages.dryrun.memory import PLACES, estimate, free_bytes, shape_of, size
    from stages.dryrun.schedule import as_one_of
    from stages.training.trl import make_config

    device, free = free_bytes()
    estimates, shape = {}, shape_of()
    for name, report in reports.items():
        with as_one_of(report["processes"]):
            estimates[name] = estimate(report, shape, make_config(f"steps.{name}", report, ".work/preflight"), device)
    title = f"estimated peak in this machine's {PLACES[device]}" + (
        "" if free is None else f", of which {size(free)} are free"
    )
    table = table_of(title, ["step"], [*COLUMNS, "total"])
    for name, found in estimates.items():
        sums = [sum(found[part] for part in parts) for parts in COLUMNS.values()]
        table.add_row(name, *(size(count) for count in [*sums, found["total"]]))
    return table


def timings(reports):
    """How long each reward function takes for an answer, tried on the ground truths of a few rows."""
    from stages.dryrun.reward_trials import sample, tried
    from stages.training.models import load_tokenizer

    for name, report in reports.items():
        if report["method"] == "grpo":
            rows, names = sample(f"data/train/{report['dataset']}.parquet", TIMED)
            for trial in tried(report, rows, names, load_tokenizer(), f"steps.{name}"):
                yield f"{name}: {trial.function} takes {trial.seconds * 1e3:.3g} ms an answer"
