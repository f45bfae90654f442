"""`tilth forget`: a request to delete a record, written down without its text, and the commands that it takes.

data/train/, data/eval/, data/rejected/, scores/<step>.seen.parquet
    -> lines of data/forgotten.jsonl, whose records ingest and curate leave out
"""

from collections.abc import Iterable
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
Reason = Annotated[str | None, typer.Option(help="Why: the number of a request, never the text of the record.")]
Near = Annotated[bool, typer.Option("--near", help="What is almost the same as WHAT, by the measure of curate.")]
AsText = Annotated[bool, typer.Option("--text", help="WHAT is a text, whatever it looks like.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
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
    """Forget a record: no build will hold it again. Without WHAT, show what still holds forgotten records."""
    from commands.builds.build import read_build
    from commands.records.leftovers import print_list_json, show_list
    from stages.dedup.forgotten import read_forgotten

    before = read_forgotten()
    build = read_build()
    if what is None:
        (print_list_json if as_json else show_list)(build, before)
        return
    check_reason(reason, what, dry_run)
    records = matching_records(build, what, context.obj, near, as_text)
    entries, rows = new_entries(build, records, before, reason or "-")
    if as_json:
        print_json(build, rows, entries, yes, dry_run)
        return
    show(build, rows)
    if not entries:
        print("\nall of it is in data/forgotten.jsonl already")
    elif dry_run:
        print(f"\n--dry-run: {len(entries)} lines for data/forgotten.jsonl, not written")
    else:
        confirm(yes, len(entries))
        append_entries(entries)
        show_next_steps(build, rows, len(entries))


def check_reason(reason: str | None, what: str, dry_run: bool) -> None:
    """Raise Problems if there is no reason, or if it contains the text to forget."""
    from validators.problems import Problem, Problems

    hint = '--reason "request 17 of the privacy office"'
    if not dry_run and not (reason or "").strip():
        raise Problems([Problem("tilth forget", "no reason is given", "--reason", hint)])
    if reason and len(what) > 3 and what.casefold() in reason.casefold():
        found = "the reason contains the text to forget, and data/forgotten.jsonl keeps it for ever"
        raise Problems([Problem("tilth forget --reason", found, "the number of a request", hint)])


def confirm(yes: bool, count: int) -> None:
    """Prompt for confirmation on a terminal. Raises Problems if the answer is no, or nobody can answer."""
    import sys

    from validators.problems import Problem, Problems

    if yes:
        return
    if not sys.stdin.isatty():
        found = "needs confirmation, but stdin is not a terminal"
        raise Problems([Problem("tilth forget", found, "--yes", "--dry-run shows, --yes writes")])
    if not typer.confirm(f"\nWrite {count} lines to data/forgotten.jsonl?"):
        raise Problems([Problem("tilth forget", "not confirmed: nothing is written")])


# -- the records ---------------------------------------------------------------------------------------------------


def matching_records(build: "Build", what: str, start: Path | None, near: bool, as_text: bool) -> "list[Record]":
    """The records that WHAT stands for, with their text. Raises Problems if they are more than MAX_RECORDS."""
    from commands.records.forgotten import threshold
    from commands.records.search import find_records, rows_of_places
    from commands.records.table import connect, read_contents
    from validators.problems import Problem, Problems

    found = find_records(build, what, start, MAX_RECORDS, threshold(build) if near else None, as_text)
    if found.problems:
        # a file that cannot be read may hold it too
        raise Problems(found.problems)
    if found.total > MAX_RECORDS:
        what = f"{found.total:,} records hold this"
        raise Problems([Problem("tilth forget", what, f"at most {MAX_RECORDS:,} at a time", "a longer text, or ids")])
    # one raw record may have become two rows, and is forgotten as a whole
    twins = rows_of_places(connect(), build, {(r.dataset, r.source, r.line) for r in found.records})
    known = {(r.room, r.dataset, r.row) for r in found.records}
    twins = [record for record in twins if (record.room, record.dataset, record.row) not in known]
    read_contents(build, None, twins)
    return found.records + twins


def new_entries(
    build: "Build", records: "list[Record]", before: "list[Forgotten]", reason: str
) -> "tuple[list[Forgotten], list[tuple[Record, str]]]":
    """(new lines of the list, [(Record, why)]): of the records, and of all other rows with the same text."""
    from commands.records.forgotten import find_forgotten_rows
    from commands.records.table import ROOMS, read_contents

    listed = {entry.id: entry for entry in before}
    entries = {}
    for record in records:
        if record.id or record.content:
            entry = entry_for(build, record, reason)
            entries.setdefault(entry.id, entry)
    rows = {(r.room, r.dataset, r.row): (r, "already forgotten" if r.content is None else "meant") for r in records}
    held, _ = find_forgotten_rows(build, list(entries.values()), ROOMS) if entries else ([], [])
    others = [
        (record, entry, why) for record, entry, why in held if (record.room, record.dataset, record.row) not in rows
    ]
    read_contents(build, None, [record for record, _, _ in others])
    for record, entry, why in others:
        rows[record.room, record.dataset, record.row] = (
            record,
            f"{why}: like {entry.id[:12]}…" if why != "by id" else why,
        )
        if record.id and record.id not in entries:
            # its id alone: with the hashes of its text too, rows that are not like the first record would be left out
            entries[record.id] = entry_for(build, record, reason, hash_text=False)
    return [entry for entry in entries.values() if entry.id not in listed], list(rows.values())


def entry_for(build: "Build", record: "Record", reason: str, hash_text: bool = True) -> "Forgotten":
    """The line of the list for a record, with hashes of its text or with its id alone."""
    import json

    import pyarrow as pa

    from stages.dedup.forgotten import Forgotten, raw_id
    from stages.dedup.sketches import row_hashes
    from stages.rows.tables import COLUMNS, to_table

    kind = build.datasets[record.dataset]["kind"]
    if not record.id:
        return Forgotten(raw_id(record.content if isinstance(record.content, str) else None), "raw", (), (), reason)
    # no content: curate rejected it, as its text is that of a forgotten record; ingest still has it
    if record.content is None or not hash_text:
        return Forgotten(record.id, kind, (), (), reason)
    row = record.content if isinstance(record.content, dict) else json.loads(record.content)
    ((texts, sketches),) = row_hashes(to_table([row], pa.schema(COLUMNS[kind])), kind)
    return Forgotten(record.id, kind, tuple(texts), tuple(sketches), reason)


# -- the list and the output ---------------------------------------------------------------------------------------


def append_entries(entries: "Iterable[Forgotten]") -> None:
    """Append lines to the list: all of them or none."""
    import os

    from stages.dedup.forgotten import FORGOTTEN_FILE, entry_line

    FORGOTTEN_FILE.parent.mkdir(exist_ok=True)
    text = FORGOTTEN_FILE.read_text(encoding="utf-8") if FORGOTTEN_FILE.exists() else ""
    text += "\n" * (text != "" and not text.endswith("\n"))
    partial = FORGOTTEN_FILE.with_name(FORGOTTEN_FILE.name + ".partial")
    partial.write_text(text + "".join(map(entry_line, entries)), encoding="utf-8")
    os.replace(partial, FORGOTTEN_FILE)


def show(build: "Build", rows: "list[tuple[Record, str]]") -> None:
    """Print the rows, and the datasets and models that hold them."""
    from stages.rows.tables import safe_text

    print(f"{len(rows):,} record{'s' * (len(rows) != 1)}:")
    for record, why in rows:
        name = (record.id or "no id")[:12] + "…" * bool(record.id)
        print(f"  {safe_text(record.place, 200)}  {record.dataset}, {record.room}, {name}  {why}")
    datasets = [name for name in build.datasets if any(record.dataset == name for record, _ in rows)]
    print(f"\ndatasets that hold them: {', '.join(datasets)}")
    trained, unknown = models_that_saw(build, [record for record, _ in rows])
    print(f"models trained on them: {', '.join(trained) or 'none'}")
    if unknown:
        print(f"models of which that is not known: {', '.join(unknown)}")


def print_json(
    build: "Build", rows: "list[tuple[Record, str]]", entries: "list[Forgotten]", yes: bool, dry_run: bool
) -> None:
    """Write the lines if --yes is given; print the rows, what holds them, and the commands that edit the raw files."""
    import json

    from commands.records.leftovers import raw_commands
    from validators.problems import Problem, Problems

    if not yes and not dry_run:
        found, hint = "cannot ask for confirmation", "--dry-run shows, --yes writes"
        raise Problems([Problem("tilth forget --json", found, "--yes or --dry-run", hint)])
    if entries and not dry_run:
        append_entries(entries)
    records = [record for record, _ in rows]
    trained, unknown = models_that_saw(build, records)
    facts = {
        "records": [
            {"place": record.place, "dataset": record.dataset, "room": record.room, "id": record.id, "why": why}
            for record, why in rows
        ],
        "models_trained": trained,
        "models_unknown": unknown,
        "lines": len(entries),
        "written": bool(entries) and not dry_run,
        "raw_commands": list(raw_commands(records)),
    }
    print(json.dumps(facts, indent=2))


def models_that_saw(build: "Build", records: "list[Record]") -> tuple[list[str], list[str]]:
    """(steps that trained on one of these records, steps of which that is unknown)."""
    from commands.records.exposure import exposure_of, trained_models

    models = trained_models(build)
    verdicts = {
        step: [seen["trained"] for record in records for seen in exposure_of(build, step, record, None, models, {})]
        for step in build.steps
    }
    trained = [step for step, seen in verdicts.items() if True in seen]
    return trained, [step for step, seen in verdicts.items() if None in seen and True not in seen]


def show_next_steps(build: "Build", rows: "list[tuple[Record, str]]", count: int) -> None:
    """Print the commands that come next."""
    from commands.records.leftovers import raw_commands

    print(f"\n{count} line{'s' * (count != 1)} written to data/forgotten.jsonl")
    print("Tilth never writes to raw data; to take the records out of it:")
    for command in raw_commands([record for record, _ in rows]):
        print(f"  {command}")
    print("then:")
    for command, why in (
        ("git add data && git commit", ""),
        ("dvc repro", "builds without them; trains the models above again"),
        ("tilth verify", "proves that nothing that is built holds them"),
        ("tilth forget", "lists what the cache and git still hold"),
    ):
        print(f"  {command:<29}{why}".rstrip())
