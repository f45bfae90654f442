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
    from validators._problems import Problem, Problems, did_you_mean
    from validators.params import mapping, read

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
    from stages._tables import shown

    with open(ROOM / "_dropped.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] in reports]
    for row in rows:
        print(f"{row['step']}: {shown(row['row'])}")
    print(f"{len(rows):,} rows are not trained: their prompt alone fills max_length")


def show(reports, findings):
    """The tables, for a person."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(account(reports), "")
    console.print(numbers(findings), "")
    console.print(machine(reports))
    for line in timings(reports):
        console.print(line)
    if changed := outdated(reports):
        console.print(
            f"params.yaml or the reward code says otherwise by now of {', '.join(changed)}: dvc repro preflight"
        )


def outdated(reports):
    """The steps that params.yaml describes otherwise than when preflight ran."""
    from stages._steps import resolve
    from validators._preflight import settings
    from validators.params import read

    params = read()
    limits = settings(params.get("preflight"))
    now = {name: resolve(name, params["steps"][name], params, limits) for name in reports}
    return [
        name for name, report in reports.items() if any(report.get(key) != value for key, value in now[name].items())
    ]


def account(reports):
    from rich import box
    from rich.table import Table

    table = Table(
        "step", "method", "from", "dataset", box=box.SIMPLE_HEAD, title="what each step trains on", title_justify="left"
    )
    for title in ("rows", "not trained", "tokens", "learned", "steps", "p50", "p95", "p99", "longest"):
        table.add_column(title, justify="right")
    for name, report in reports.items():
        length = report["length"]
        counts = [report["rows"], report["rows"] - report["trained_rows"], report["tokens"], report["learned_tokens"]]
        counts += [report["optimizer_steps"], length["p50"], length["p95"], length["p99"], length["max"]]
        table.add_row(name, report["method"], report["from"], report["dataset"], *(f"{count:,}" for count in counts))
    return table


def numbers(findings):
    """Every number beside its limit; what is above it stands out by its word, not by colour alone."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from stages._tables import shown

    style = {"ok": "green", "warning": "bold yellow", "waived": "cyan"}
    table = Table("step", "check", box=box.SIMPLE_HEAD, title="numbers beside their limits", title_justify="left")
    for title in ("value", "limit"):
        table.add_column(title, justify="right")
    table.add_column("")
    table.add_column("", overflow="fold")
    for name, items in findings.items():
        for item in items:
            limit = "" if item["limit"] is None else f"{item['limit']:g}"
            short, level = item["check"].removeprefix("preflight."), item["level"]
            message = Text(shown(item["message"], 400))
            table.add_row(name, short, f"{item['value']:g}", limit, Text(level, style[level]), message)
    return table


def machine(reports):
    """The estimate of each step's peak on this machine, part by part."""
    from rich import box
    from rich.table import Table

    from stages._memory import GB, estimate, free_bytes, shape_of
    from stages._schedule import as_one_of
    from stages._trl import make_config

    device, free = free_bytes()
    title = f"estimated peak on this machine's {device}, in GB" + (
        "" if free is None else f"; {free / GB:.1f} are free"
    )
    table = Table("step", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    estimates, shape = {}, shape_of()
    for name, report in reports.items():
        with as_one_of(report["processes"]):
            estimates[name] = estimate(report, shape, make_config(f"steps.{name}", report, ".work/preflight"), device)
    parts = [part for part in next(iter(estimates.values()), {}) if any(found[part] for found in estimates.values())]
    for part in parts:
        table.add_column(part, justify="right")
    for name, found in estimates.items():
        table.add_row(name, *(f"{found[part] / GB:.2f}" for part in parts))
    return table


def timings(reports):
    """How long each reward function takes for an answer, tried on the ground truths of a few rows."""
    from stages._models import load_tokenizer
    from stages._reward_trials import sample, tried

    for name, report in reports.items():
        if report["method"] == "grpo":
            rows, names = sample(f"data/train/{report['dataset']}.parquet", TIMED)
            for trial in tried(report, rows, names, load_tokenizer(), f"steps.{name}"):
                yield f"{name}: {trial.function} takes {trial.seconds * 1e3:.3g} ms an answer"
