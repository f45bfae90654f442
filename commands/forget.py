"""`tilth forget`: a request to delete a record, written down without its text, and what is to be done about it.

data/train/, data/eval/, data/rejected/, scores/<step>.seen.parquet
    -> lines of data/forgotten.jsonl, which ingest and curate obey
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.records.table import Record
    from stages.dedup.forgotten import Forgotten

What = Annotated[
    str | None,
    typer.Argument(
        help="An id or its first digits, FILE:LINE, or a text. Left out: what is forgotten, and what still holds it."
    ),
]
Reason = Annotated[str | None, typer.Option(help="Why: a request's number, not what the record says.")]
Near = Annotated[bool, typer.Option("--near", help="What is almost the same as WHAT, by the measure of curate.")]
AsText = Annotated[bool, typer.Option("--text", help="WHAT is a text, whatever it looks like.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be forgotten, and write nothing.")]
Json = Annotated[
    bool, typer.Option("--json", help="As JSON, for scripts; needs --yes or --dry-run where there is a WHAT.")
]
MAX_RECORDS = 1_000


def main(
    context: typer.Context,
    what: What = None,
    reason: Reason = None,
    near: Near = False,
    as_text: AsText = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Forget a record: no build will hold it again. Without WHAT, tell what still holds forgotten records."""
    from commands.builds.build import read_build
    from stages.dedup.forgotten import read_forgotten

    before = read_forgotten()
    build = read_build()
    if what is None:
        (print_list_json if as_json else show_list)(build, before)
        return
    check_reason(reason, what, dry_run)
    records = matching_records(build, what, context.obj, near, as_text)
    entries, found = new_entries(build, records, before, reason or "-")
    if as_json:
        print_json(build, found, entries, yes, dry_run)
        return
    show(build, found, before)
    if not entries:
        print("\nall of it is in data/forgotten.jsonl already")
    elif dry_run:
        print(f"\n--dry-run: {len(entries)} lines for data/forgotten.jsonl, not written")
    else:
        confirm(yes, len(entries))
        append_entries(entries)
        show_next_steps(build, found, len(entries))


def check_reason(reason: str | None, what: str, dry_run: bool) -> None:
    """Raise Problems where there is no reason, or one that says what is to be forgotten."""
    from validators.problems import Problem, Problems

    hint = '--reason "request 17 of the privacy office"'
    if not dry_run and not (reason or "").strip():
        raise Problems([Problem("tilth forget", "no reason is given", "--reason", hint)])
    if reason and len(what) > 3 and what.casefold() in reason.casefold():
        found = "the reason holds what is to be forgotten, and is kept for ever"
        raise Problems([Problem("tilth forget --reason", found, "the number of a request", hint)])


def confirm(yes: bool, count: int) -> None:
    """Ask, where somebody is there to answer. Raises Problems where the answer is no."""
    import sys

    from validators.problems import Problem, Problems

    if yes:
        return
    if not sys.stdin.isatty():
        raise Problems(
            [
                Problem(
                    "tilth forget",
                    "needs confirmation, but stdin is not a terminal",
                    "--yes",
                    "--dry-run shows, --yes writes",
                )
            ]
        )
    if not typer.confirm(f"\nWrite {count} lines to data/forgotten.jsonl?"):
        raise Problems([Problem("tilth forget", "not confirmed: nothing is written")])


# -- what is meant ------------------------------------------------------------------------------------------------


def matching_records(build: "Build", what: str, start: Path | None, near: bool, as_text: bool) -> "list[Record]":
    """The records that WHAT means, with their text. Raises Problems where they are too many to be meant."""
    from commands.records.forgotten import threshold
    from commands.records.search import find_records, rows_of_places
    from commands.records.table import connect, read_contents
    from validators.problems import Problem, Problems

    found = find_records(build, what, start, MAX_RECORDS, threshold(build) if near else None, as_text)
    if found.problems:
        # what cannot be read may hold it too
        raise Problems(found.problems)
    if found.total > MAX_RECORDS:
        what = f"{found.total:,} records hold this"
        raise Problems([Problem("tilth forget", what, f"at most {MAX_RECORDS:,} at a time", "a longer text, or ids")])
    # a pair may have become two rows: a record is left out whole
    twins = rows_of_places(connect(), build, {(r.dataset, r.source, r.line) for r in found.records})
    known = {(r.room, r.dataset, r.row) for r in found.records}
    twins = [record for record in twins if (record.room, record.dataset, record.row) not in known]
    read_contents(build, None, twins)
    return found.records + twins


def new_entries(
    build: "Build", records: "list[Record]", before: "list[Forgotten]", reason: str
) -> "tuple[list[Forgotten], list[tuple[Record, str]]]":
    """(new lines of the list, [(Record, why)] of all rows concerned): the records, and the rows that say the same elsewhere."""
    from commands.records.forgotten import find_forgotten_rows
    from commands.records.table import ROOMS, read_contents

    listed = {entry.id: entry for entry in before}
    meant = {}
    for record in records:
        if record.id or record.content:
            entry = entry_for(build, record, reason)
            meant.setdefault(entry.id, entry)
    found = {(r.room, r.dataset, r.row): (r, "already forgotten" if r.content is None else "meant") for r in records}
    held, _ = find_forgotten_rows(build, list(meant.values()), ROOMS) if meant else ([], [])
    others = [
        (record, entry, why) for record, entry, why in held if (record.room, record.dataset, record.row) not in found
    ]
    read_contents(build, None, [record for record, _, _ in others])
    for record, entry, why in others:
        found[record.room, record.dataset, record.row] = (
            record,
            f"{why}: like {entry.id[:12]}…" if why != "by id" else why,
        )
        if record.id and record.id not in meant:
            # its id keeps it out of ingest; with what else it says on the list, rows that the first is not like would go too
            meant[record.id] = entry_for(build, record, reason, says=False)
    return [entry for entry in meant.values() if entry.id not in listed], list(found.values())


def entry_for(build: "Build", record: "Record", reason: str, says: bool = True) -> "Forgotten":
    """The line of the list for a record, with hashes of what it says or with its id alone."""
    import json

    import pyarrow as pa

    from stages.dedup.forgotten import Forgotten, raw_id
    from stages.dedup.sketches import row_hashes
    from stages.rows.tables import COLUMNS, to_table

    kind = build.datasets[record.dataset]["kind"]
    if not record.id:
        return Forgotten(raw_id(record.content if isinstance(record.content, str) else None), "raw", (), (), reason)
    # without content: curate turned it away, as it says what a forgotten one said; ingest still has it
    if record.content is None or not says:
        return Forgotten(record.id, kind, (), (), reason)
    row = record.content if isinstance(record.content, dict) else json.loads(record.content)
    ((texts, sketches),) = row_hashes(to_table([row], pa.schema(COLUMNS[kind])), kind)
    return Forgotten(record.id, kind, tuple(texts), tuple(sketches), reason)


# -- written and shown --------------------------------------------------------------------------------------------


def append_entries(entries: "Iterable[Forgotten]") -> None:
    """Add lines to the list, all or none."""
    import os

    from stages.dedup.forgotten import FORGOTTEN_FILE, entry_line

    FORGOTTEN_FILE.parent.mkdir(exist_ok=True)
    text = FORGOTTEN_FILE.read_text(encoding="utf-8") if FORGOTTEN_FILE.exists() else ""
    text += "\n" * (text != "" and not text.endswith("\n"))
    partial = FORGOTTEN_FILE.with_name(FORGOTTEN_FILE.name + ".partial")
    partial.write_text(text + "".join(map(entry_line, entries)), encoding="utf-8")
    os.replace(partial, FORGOTTEN_FILE)


def show(build: "Build", found: "list[tuple[Record, str]]", before: "list[Forgotten]") -> None:
    """Print the rows concerned, and the datasets and models that hold them."""
    from stages.rows.tables import safe_text

    print(f"{len(found):,} record{'s' * (len(found) != 1)}:")
    for record, why in found:
        name = (record.id or "no id")[:12] + "…" * bool(record.id)
        print(f"  {safe_text(record.place, 200)}  {record.dataset}, {record.room}, {name}  {why}")
    datasets = [name for name in build.datasets if any(record.dataset == name for record, _ in found)]
    print(f"\ndatasets that hold them: {', '.join(datasets)}")
    trained, perhaps = models_that_saw(build, [record for record, _ in found])
    print(f"models trained on them: {', '.join(trained) or 'none'}")
    if perhaps:
        print(f"models of which that is not known: {', '.join(perhaps)}")


def print_json(
    build: "Build", found: "list[tuple[Record, str]]", entries: "list[Forgotten]", yes: bool, dry_run: bool
) -> None:
    """Write, where --yes says so, and print the rows concerned, what holds them, and how to take them out of raw files."""
    import json

    from validators.problems import Problem, Problems

    if not yes and not dry_run:
        raise Problems(
            [Problem("tilth forget --json", "asks nothing", "--yes or --dry-run", "--dry-run shows, --yes writes")]
        )
    if entries and not dry_run:
        append_entries(entries)
    records = [record for record, _ in found]
    trained, perhaps = models_that_saw(build, records)
    facts = {
        "records": [
            {"place": record.place, "dataset": record.dataset, "room": record.room, "id": record.id, "why": why}
            for record, why in found
        ],
        "models_trained": trained,
        "models_unknown": perhaps,
        "lines": len(entries),
        "written": bool(entries) and not dry_run,
        "raw_commands": list(raw_commands(records)),
    }
    print(json.dumps(facts, indent=2))


def models_that_saw(build: "Build", records: "list[Record]") -> tuple[list[str], list[str]]:
    """(steps whose models saw one of these records in training, steps of which nothing says whether)."""
    from commands.records.exposure import exposure_of, trained_models

    models = trained_models(build)
    verdicts = {
        step: [seen["trained"] for record in records for seen in exposure_of(build, step, record, None, models, {})]
        for step in build.steps
    }
    trained = [step for step, seen in verdicts.items() if True in seen]
    return trained, [step for step, seen in verdicts.items() if None in seen and True not in seen]


def show_next_steps(build: "Build", found: "list[tuple[Record, str]]", count: int) -> None:
    """Print what is left to do, as commands."""
    print(f"\n{count} line{'s' * (count != 1)} written to data/forgotten.jsonl")
    print("raw data is yours, and is never written to; to take the records out of it:")
    for command in raw_commands([record for record, _ in found]):
        print(f"  {command}")
    print("then:")
    for command, why in (
        ("git add data && git commit", ""),
        ("dvc repro", "builds without them; trains the models above anew"),
        ("tilth verify", "proves that nothing that is built holds them"),
        ("tilth forget", "lists what the cache and git still hold"),
    ):
        print(f"  {command:<29}{why}".rstrip())


def raw_commands(records: "Iterable[Record]") -> Iterator[str]:
    """The commands that take records out of the raw files; a line is emptied, so that all others keep their numbers."""
    from stages.reading.containers import describe_container, detect_container
    from validators.problems import Problems

    lines = {}
    for record in records:
        lines.setdefault(record.source, set()).add(record.line)
    for source, numbers in sorted(lines.items()):
        if not Path(source).is_file():
            continue
        try:
            kind = detect_container(Path(source))
        except Problems:
            continue
        if kind == "jsonl":
            edits = "; ".join(f"{line}s/.*//" for line in sorted(numbers))
            yield f"sed -i {quote_for_shell(edits)} {quote_for_shell(source)}"
        else:
            yield f"# {describe_container(kind)}: take out record {', '.join(map(str, sorted(numbers)))} of {quote_for_shell(source)} by hand"
        tracked = [folder for folder in (Path(source), *Path(source).parents) if Path(f"{folder}.dvc").is_file()]
        yield from (
            f"dvc add {quote_for_shell(str(path))} && git add {quote_for_shell(f'{path}.dvc')}" for path in tracked
        )


def quote_for_shell(text: str) -> str:
    import shlex

    from stages.rows.tables import safe_text

    return shlex.quote(safe_text(text, 2000))


# -- what still holds them ----------------------------------------------------------------------------------------


def show_list(build: "Build", entries: "list[Forgotten]") -> None:
    """Print the list, what is built and still holds some of it, and what the cache, remotes and git still hold."""
    from commands.records.forgotten import find_breaks, find_old_objects
    from stages.rows.tables import safe_text

    if not entries:
        print("data/forgotten.jsonl is empty: nothing is forgotten")
        return
    for entry in entries:
        print(f"{entry.id[:12]}…  {entry.kind:<10}  {safe_text(entry.reason, 100)}")
    faults = find_breaks(build)
    print(f"\nwhat is built: {f'{len(faults)} places may hold them' if faults else 'nothing holds them'}")
    for problem in faults:
        print("\n".join(f"  {safe_text(line, 400)}" for line in str(problem).splitlines()))
    show_raw_records(build)
    old = find_old_objects(build, [entry.id for entry in entries])
    many = f"{sum(map(len, old.held.values())):,} objects, {old.size / 1e6:,.1f} MB" if old.held else "none hold them"
    print(f"\nobjects of earlier builds in the cache: {many}")
    for path, versions in sorted(old.held.items()):
        print(f"  {safe_text(path, 200)}: {', '.join(sorted(md5[:10] for md5 in versions))}")
    left = f"; {old.left_out:,} more were left out" if old.left_out else ""
    left += f"; {old.absent:,} are not in this cache, a remote may have them" if old.absent else ""
    print(
        f"searched: {old.searched:,} tables, named by {old.commits:,} commits of dvc.lock and {old.runs:,} cached runs{left}"
    )
    if old.held:
        print("to remove them, and with them all that only earlier builds used:")
    for command in removal_commands(build) if old.held else ():
        print(f"  {command}")


def print_list_json(build: "Build", entries: "list[Forgotten]") -> None:
    """Print the same as JSON."""
    import json
    from dataclasses import asdict

    from commands.records.forgotten import find_breaks, find_old_objects

    old = find_old_objects(build, [entry.id for entry in entries]) if entries else None
    cache = old and {
        "objects": {path: sorted(versions) for path, versions in old.held.items()},
        "bytes": old.size,
        "searched": old.searched,
        "left_out": old.left_out,
        "absent": old.absent,
    }
    facts = {
        "forgotten": [{"id": entry.id, "kind": entry.kind, "reason": entry.reason} for entry in entries],
        "breaks": [asdict(problem) for problem in find_breaks(build)] if entries else [],
        "cache": cache,
    }
    print(json.dumps(facts, indent=2))


def show_raw_records(build: "Build") -> None:
    """Print the raw records that are still there and are left out of every build, and the files of git's history."""
    from commands.builds.build import find_tables
    from commands.builds.git import git
    from commands.records.table import Record, connect, query_rows

    records, paths = [], find_tables(build, "rejected")[0]
    for (_, dataset), path in paths.items():
        where = "\"check\" IN ('ingest.forgotten', 'curate.forgotten')"
        rows = query_rows(connect(), path, [], "file_row_number, id, source, line", where, {})
        records += [Record("rejected", dataset, *row) for row in rows]
    if records:
        print(
            f"\nraw data still has {len({record.place for record in records}):,} of them, which every build leaves out:"
        )
        print("\n".join(f"  {command}" for command in raw_commands(records)))
    kept = sorted(
        {record.source for record in records if git("ls-files", "--error-unmatch", record.source) is not None}
    )
    if kept or not records:
        print("\ngit: raw data that was committed stays in its history, and in every clone")
        print("  git filter-repo rewrites it, and all clones are then made anew: you decide")


def removal_commands(build: "Build") -> Iterator[str]:
    """The commands that remove what only earlier builds used, from the cache and from each remote."""
    from commands.builds.dvc import remote_names

    yield "dvc gc --workspace"
    for remote in remote_names():
        yield f"dvc gc --workspace --cloud --remote {quote_for_shell(remote)}"
