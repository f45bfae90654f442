"""`tilth check`: every mistake in params.yaml, and raw data that changed under DVC, all at once, before anything runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from validators._by_file import ByFile
    from validators._cautions import Caution, FileCaution, UnusedWaiver
    from validators.problems import Problem

Upstream = Annotated[
    bool, typer.Option("--upstream", help="Also ask the sources of `dvc import-url` whether they are others by now.")
]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
SOON_DAYS = 90


@dataclass
class CheckResult:
    """What was found. problems: what must be mended; the rest is as far as it was looked at before."""

    mended: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    warnings: "list[Caution | FileCaution | UnusedWaiver]" = field(
        default_factory=list
    )  # of params.yaml, waived or not
    in_the_open: "list[Problem]" = field(default_factory=list)  # credentials that git has
    expires: list[str] = field(default_factory=list)
    upstream: list[str] = field(default_factory=list)
    problems: "list[Problem]" = field(default_factory=list)


def main(upstream: Upstream = False, as_json: Json = False) -> None:
    """Check params.yaml as a whole, raw files and data/forgotten.jsonl. Mends what a killed dvc has left."""
    from validators.problems import Problems

    found = CheckResult()
    try:
        run_checks(found, upstream)
    except Problems as error:
        found.problems = error.problems
    if as_json:
        print_json(found)
    else:
        show(found)
    if found.problems and as_json:
        raise typer.Exit(1)
    if found.problems:
        raise Problems(found.problems)


def run_checks(found: CheckResult, upstream: bool) -> None:
    """Fill in what is found. Raises Problems with every mistake."""
    from commands.builds.addresses import credential_problems
    from commands.builds.repairs import repair
    from commands.sharing.raw_data import changed_data, changed_sources
    from stages.check import check
    from stages.dedup.forgotten import read_forgotten as read_forgotten
    from stages.training.trackers import tracker_problems
    from validators.conflicts import conflict_problems
    from validators.params import read_params_yaml
    from validators.problems import Problems

    if conflicts := conflict_problems("params.yaml", "dvc.yaml", "dvc.lock", "data/forgotten.jsonl"):
        raise Problems(conflicts)
    found.mended = list(repair())
    read_forgotten()
    data = read_params_yaml()
    places = raw_paths(data)
    kept = changed_data(places)
    try:
        found.warnings = check(data)
    except Problems as error:
        raise Problems([*error.problems, *kept]) from None
    if kept:
        raise Problems(kept)
    found.datasets, found.steps = list(data["datasets"]), list(data["steps"])
    if problems := tracker_problems():
        raise Problems(problems)
    found.expires = list(expiry_lines(data.get("expires") or {}))
    found.in_the_open = credential_problems()
    found.upstream = list(changed_sources(places)) if upstream else []


def show(found: CheckResult) -> None:
    """Print what was mended, the warnings, and that params.yaml is valid, where it is."""
    from stages.check import print_warnings
    from stages.rows.tables import safe_text

    for line in found.mended:
        print(line)
    print_warnings(found.warnings)
    for line in found.expires:
        print(safe_text(line, 400))
    for problem in found.in_the_open:
        print("\n".join(safe_text(line, 2000) for line in f"warning: {problem}".splitlines()))
    for line in found.upstream:
        print(line)
    if not found.problems:
        waived = sum(warning.waived is not None for warning in found.warnings)
        print(
            f"params.yaml is valid: {len(found.datasets)} datasets, {len(found.steps)} steps, "
            f"{len(found.warnings) - waived + len(found.in_the_open)} warnings, {waived} waived"
        )


def print_json(found: CheckResult) -> None:
    import json
    from dataclasses import asdict

    warnings = [{"text": str(warning), "waived": warning.waived} for warning in found.warnings]
    warnings += [{"text": str(problem), "waived": None} for problem in found.in_the_open]
    facts = {
        "valid": not found.problems,
        "problems": [asdict(problem) for problem in found.problems],
        "warnings": warnings,
    }
    facts |= {name: getattr(found, name) for name in ("datasets", "steps", "expires", "upstream", "mended")}
    print(json.dumps(facts, indent=2))


def expiry_lines(expires: "dict[str, ByFile]") -> Iterator[str]:
    """A line for each day in `expires`: what is past, and what comes within a quarter of a year."""
    from stages.expire import today

    for name, rule in expires.items():
        for pattern, text in (rule if isinstance(rule, dict) else {"all of it": rule}).items():
            left = (date.fromisoformat(text) - today()).days
            if left <= 0:
                yield f"expired: {name}: {pattern}, on {text}: dvc repro leaves its rows out"
            elif left <= SOON_DAYS:
                yield f"expires: {name}: {pattern}, on {text}, in {left} day{'s' * (left > 1)}"


def raw_paths(params: object) -> list[str]:
    """The raw paths of the datasets, as far as params.yaml, which may be anything yet, has some; and the benchmarks."""
    datasets = params.get("datasets") if isinstance(params, dict) else None
    entries = datasets.values() if isinstance(datasets, dict) else ()
    named = (entry.get("raw") for entry in entries if isinstance(entry, dict))
    inside = (raw for raw in named if isinstance(raw, str) and raw and is_in_project(raw))
    return [*dict.fromkeys(inside), "data/benchmarks"]


def is_in_project(raw: str) -> bool:
    root = Path.cwd().resolve()
    return not Path(raw).is_absolute() and (root / raw).resolve().is_relative_to(root)
