"""`tilth check`: every mistake in params.yaml, and raw data that changed under DVC, all at once, before anything runs."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from validators._by_file import ByFile

Upstream = Annotated[
    bool, typer.Option("--upstream", help="Also ask the sources of `dvc import-url` whether they are others by now.")
]

SOON_DAYS = 90


def main(upstream: Upstream = False) -> None:
    """Check params.yaml as a whole, raw files and data/forgotten.jsonl. Mends what a killed dvc has left."""
    from commands.builds.addresses import in_git
    from commands.builds.mend import mend
    from commands.sharing.raw_data import changed, moved_on
    from stages.check import announce, check
    from stages.dedup.forgotten import read as read_forgotten
    from stages.rows.tables import shown
    from stages.training.trackers import tracker_problems
    from validators.conflicts import conflict_problems
    from validators.params import read
    from validators.problems import Problems

    if conflicts := conflict_problems("params.yaml", "dvc.yaml", "dvc.lock", "data/forgotten.jsonl"):
        raise Problems(conflicts)
    for mended in mend():
        print(mended)
    read_forgotten()
    data = read()
    places = raw_places(data)
    kept = changed(places)
    try:
        warnings = check(data)
    except Problems as error:
        raise Problems([*error.problems, *kept]) from None
    if kept:
        raise Problems(kept)
    announce(warnings)
    if problems := tracker_problems():
        raise Problems(problems)
    for line in expiries(data.get("expires") or {}):
        print(shown(line, 400))
    in_the_open = in_git()
    for problem in in_the_open:
        print("\n".join(shown(line, 2000) for line in f"warning: {problem}".splitlines()))
    for line in moved_on(places) if upstream else ():
        print(line)
    waived = sum(warning.waived is not None for warning in warnings)
    print(
        f"params.yaml is valid: {len(data['datasets'])} datasets, {len(data['steps'])} steps, "
        f"{len(warnings) - waived + len(in_the_open)} warnings, {waived} waived"
    )


def expiries(expires: "dict[str, ByFile]") -> Iterator[str]:
    """A line for each day in `expires`: what is past, and what comes within a quarter of a year."""
    from stages.expire import today

    for name, rule in expires.items():
        for pattern, text in (rule if isinstance(rule, dict) else {"all of it": rule}).items():
            left = (date.fromisoformat(text) - today()).days
            if left <= 0:
                yield f"expired: {name}: {pattern}, on {text}: dvc repro leaves its rows out"
            elif left <= SOON_DAYS:
                yield f"expires: {name}: {pattern}, on {text}, in {left} day{'s' * (left > 1)}"


def raw_places(params: object) -> list[str]:
    """The raw paths of the datasets, as far as params.yaml, which may be anything yet, has some; and the benchmarks."""
    datasets = params.get("datasets") if isinstance(params, dict) else None
    entries = datasets.values() if isinstance(datasets, dict) else ()
    named = (entry.get("raw") for entry in entries if isinstance(entry, dict))
    inside = (raw for raw in named if isinstance(raw, str) and raw and is_inside(raw))
    return [*dict.fromkeys(inside), "data/benchmarks"]


def is_inside(raw: str) -> bool:
    root = Path.cwd().resolve()
    return not Path(raw).is_absolute() and (root / raw).resolve().is_relative_to(root)
