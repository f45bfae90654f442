"""What still holds forgotten records: raw files, the build, the cache and git; and the commands that remove them from there."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.records.table import Record
    from stages.dedup.forgotten import Forgotten


def raw_commands(records: "Iterable[Record]") -> Iterator[str]:
    """The commands that take records out of the raw files. They empty a line, so that all others keep their numbers."""
    from stages.reading.containers import describe_container, detect_container
    from validators.problems import Problems

    lines: dict[str, set[int]] = {}
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


def show_list(build: "Build", entries: "list[Forgotten]") -> None:
    """Print the list, and what still holds its records: the build, the cache, remotes and git."""
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
    """Print as JSON the list, and what still holds its records in the build and the cache."""
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
    """Print the forgotten records that raw files still hold, and whether git's history may hold them."""
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
    in_git = any(git("ls-files", "--error-unmatch", record.source) is not None for record in records)
    if in_git or not records:
        print("\ngit: raw data that was committed stays in its history, and in every clone")
        print("  git filter-repo rewrites it, and all clones must then be made again: you decide")


def removal_commands(build: "Build") -> Iterator[str]:
    """The commands that remove from the cache and each remote what only earlier builds used."""
    from commands.builds.dvc import remote_names

    yield "dvc gc --workspace"
    for remote in remote_names():
        yield f"dvc gc --workspace --cloud --remote {quote_for_shell(remote)}"
