"""`tilth check`: every mistake in params.yaml, and raw data that changed under DVC, all at once before anything runs."""

from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stages.check import Warned
    from validators._by_file import ByFile
    from validators.problems import Problem

Upstream = Annotated[
    bool, typer.Option("--upstream", help="Also ask the sources of `dvc import-url` whether they have changed.")
]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
SOON_DAYS = 90


@dataclass
class CheckResult:
    """What a check found. problems: what must be repaired. The first problem may leave the later fields empty."""

    mended: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    warnings: "list[Warned]" = field(default_factory=list)  # of params.yaml, waived or not
    credentials: "list[Problem]" = field(default_factory=list)  # those that are committed to git
    expires: list[str] = field(default_factory=list)
    upstream: list[str] = field(default_factory=list)
    problems: "list[Problem]" = field(default_factory=list)
    later: int = 0  # waivers of what preflight will measure


def main(upstream: Upstream = False, as_json: Json = False) -> None:
    """Check params.yaml as a whole, raw files and data/forgotten.jsonl. Repairs what a killed dvc left behind."""
    from validators.problems import Problems

    result = CheckResult()
    try:
        run_checks(result, upstream)
    except Problems as error:
        result.problems = error.problems
    if as_json:
        print_json(result)
    else:
        show(result)
    if result.problems and as_json:
        raise typer.Exit(1)
    if result.problems:
        raise Problems(result.problems)


def run_checks(result: CheckResult, upstream: bool) -> None:
    """Fill in `result`. Raises Problems with every mistake."""
    from commands.builds.addresses import credential_problems
    from commands.builds.repairs import repair
    from commands.sharing.raw_data import changed_data, changed_sources
    from stages.check import check
    from stages.dedup.forgotten import read_forgotten
    from stages.training.trackers import tracker_problems
    from validators._preflight import WAIVABLE
    from validators.conflicts import conflict_problems
    from validators.params import read_params_yaml
    from validators.problems import Problems

    if conflicts := conflict_problems("params.yaml", "dvc.yaml", "dvc.lock", "data/forgotten.jsonl"):
        raise Problems(conflicts)
    result.mended = list(repair())
    read_forgotten()
    data = read_params_yaml()
    paths = raw_paths(data)
    changed = changed_data(paths)
    try:
        result.warnings = check(data)
    except Problems as error:
        raise Problems([*error.problems, *changed]) from None
    if changed:
        raise Problems(changed)
    result.datasets, result.steps = list(data["datasets"]), list(data["steps"])
    result.later = sum(name in WAIVABLE for step in data["steps"].values() for name in step.get("waive") or {})
    if problems := tracker_problems():
        raise Problems(problems)
    result.expires = list(expiry_lines(data.get("expires") or {}))
    result.credentials = credential_problems()
    result.upstream = list(changed_sources(paths)) if upstream else []


def show(result: CheckResult) -> None:
    """Print the repairs and the warnings, and whether params.yaml is valid."""
    from stages.check import print_warnings
    from stages.rows.tables import safe_text

    for line in result.mended:
        print(line)
    print_warnings(result.warnings)
    for line in result.expires:
        print(safe_text(line, 400))
    for problem in result.credentials:
        print("\n".join(safe_text(line, 2000) for line in f"warning: {problem}".splitlines()))
    for line in result.upstream:
        print(line)
    if not result.problems:
        waived = sum(warning.waived is not None for warning in result.warnings)
        print(
            f"params.yaml is valid: {counted(result.datasets, 'dataset')}, {counted(result.steps, 'step')}, "
            f"{len(result.warnings) - waived + len(result.credentials)} warnings, {waived} waived"
            + (f"; {result.later} more waived, of what preflight measures" if result.later else "")
        )


def counted(items: Sized, what: str) -> str:
    return f"{len(items):,} {what}{'' if len(items) == 1 else 's'}"


def print_json(result: CheckResult) -> None:
    import json
    from dataclasses import asdict

    warnings = [{"text": str(warning), "waived": warning.waived} for warning in result.warnings]
    warnings += [{"text": str(problem), "waived": None} for problem in result.credentials]
    facts = {
        "valid": not result.problems,
        "problems": [asdict(problem) for problem in result.problems],
        "warnings": warnings,
    }
    facts |= {name: getattr(result, name) for name in ("datasets", "steps", "expires", "upstream", "mended")}
    print(json.dumps(facts, indent=2))


def expiry_lines(expires: "dict[str, ByFile]") -> Iterator[str]:
    """A line for each rule of `expires` whose day is past, or comes within SOON_DAYS."""
    from stages.expire import today

    for name, rule in expires.items():
        for pattern, text in (rule if isinstance(rule, dict) else {"all of it": rule}).items():
            days_left = (date.fromisoformat(text) - today()).days
            if days_left <= 0:
                yield f"expired: {name}: {pattern}, on {text}: dvc repro leaves its rows out"
            elif days_left <= SOON_DAYS:
                yield f"expires: {name}: {pattern}, on {text}, in {days_left} day{'s' * (days_left > 1)}"


def raw_paths(params: object) -> list[str]:
    """The raw paths of all datasets, and the folder of benchmarks. params: not validated yet, so it may be anything."""
    datasets = params.get("datasets") if isinstance(params, dict) else None
    entries = datasets.values() if isinstance(datasets, dict) else ()
    given = (entry.get("raw") for entry in entries if isinstance(entry, dict))
    inside = (raw for raw in given if isinstance(raw, str) and raw and is_in_project(raw))
    return [*dict.fromkeys(inside), "data/benchmarks"]


def is_in_project(raw: str) -> bool:
    root = Path.cwd().resolve()
    return not Path(raw).is_absolute() and (root / raw).resolve().is_relative_to(root)
