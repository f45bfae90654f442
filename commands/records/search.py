"""Search the records of a build: by id, by `file:line`, by text, or by a similar text.

    found = find_records(build, "5f0e31", start)  # SearchResult(by="id", records=[Record(...)], total=1, problems=[])

train, eval and rejected together hold every record of a dataset. DuckDB reads only the columns that a question needs; the
texts of the few records that are shown are read afterwards, by row number.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from commands.builds.build import Build, find_tables
from commands.records.near import find_similar
from commands.records.table import (
    ROOMS,
    Paths,
    Record,
    connect,
    is_messages,
    place_columns,
    query_rows,
    read_contents,
    row_columns,
    unreadable_problem,
)
from validators.problems import Problem, Problems, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

MAX_SHOWN = 20
MIN_DIGITS = 6
# another record that a reject names: `duplicate of <id> (file:line)`, `93% like <id> (...)`, `contradicts <id> (...)`
OTHER_ID = re.compile(r"(?:duplicate of|like|contradicts) ([0-9a-f]{64}) \(")


@dataclass
class SearchResult:
    """by: `id`, `line`, `text` or `likeness`. total: of all matches; `records` are the first of them."""

    by: str
    records: list[Record]
    total: int
    problems: list[Problem]


def find_records(
    build: Build,
    what: str,
    start: str | Path | None,
    limit: int = MAX_SHOWN,
    near: float | None = None,
    as_text: bool = False,
) -> SearchResult:
    """The records that WHAT means. Raises Problems with a suggestion where it finds none.

    near: the least similarity, for near-duplicates of a text or of the record that WHAT is. start: the user's folder.
    """
    if not what.strip():
        raise Problems([nothing_found("WHAT is empty", "an id, FILE:LINE or a text")])
    paths, problems = find_tables(build, *ROOMS)
    if not paths:
        raise Problems(problems)
    database = connect()
    by, total = "text", None
    found: list[Record] = []
    if not as_text and (place := parse_place(build, what, start)):
        by, found = "line", find_at_line(database, build, paths, problems, *place)
    elif not as_text and re.fullmatch(f"[0-9a-f]{{{MIN_DIGITS},64}}", what):
        by, found = "id", find_by_id(database, paths, problems, what)
        if not found and len(what) == 64:
            raise Problems([nothing_found("no record has this id", "an id of train, eval or rejected"), *problems])
    if near is not None:
        text = what if not found else None
        by, found = "likeness", find_similar(database, build, paths, problems, text, found, near)
    elif not found:
        by, (found, total) = "text", find_by_text(database, build, paths, problems, what, limit)
    if not found:
        raise Problems([nothing_found(*explain_nothing(what, near, as_text)), *problems])
    found.sort(key=lambda r: (-(r.likeness or 0), list(build.datasets).index(r.dataset), r.source, r.line, r.room))
    shown = found[: limit or None]
    read_contents(build, paths, shown)
    return SearchResult(by, shown, total or len(found), problems)


def nothing_found(found: str, expected: str = "", hint: str = "") -> Problem:
    return Problem("WHAT", found, expected, hint)


def explain_nothing(what: str, near: float | None, as_text: bool) -> tuple[str, str, str]:
    """(found, expected, hint) of a search without a match."""
    if near is not None:
        return (
            f"no record is at least {near:.0%} like it",
            "",
            "without --near, a part of a text finds the records that hold it",
        )
    hint = "--near finds similar records; FILE:LINE finds a record of a raw file"
    if not as_text and re.fullmatch(r"[0-9a-f]+", what) and len(what) < MIN_DIGITS:
        hint = f"an id needs at least {MIN_DIGITS} digits"
    return "no record holds this text, and none has this id", "", hint


# -- one question, every table ------------------------------------------------------------------------------------


def find_by_id(database: "DuckDBPyConnection", paths: Paths, problems: list[Problem], prefix: str) -> list[Record]:
    """Every record whose id begins with a prefix. Raises Problems where more than one id does."""
    where = "id = $id" if len(prefix) == 64 else "starts_with(id, $id)"
    found = [
        Record(*key, *row)
        for key, path in paths.items()
        for row in query_rows(database, path, problems, place_columns(key[0]), where, {"id": prefix})
    ]
    ids = sorted({record.id for record in found if record.id})
    if len(ids) > 1:
        hint = "more digits of " + ", ".join(name[: len(prefix) + 6] + "…" for name in ids[:5])
        raise Problems([nothing_found(f"{len(ids):,} ids begin with {prefix}", "one", hint)])
    return found


def records_with_ids(build: Build, ids: Collection[str]) -> dict[str, list[Record]]:
    """The rows with some ids, in every table, by id."""
    paths, problems = find_tables(build, *ROOMS)
    database = connect()
    found: dict[str, list[Record]] = {name: [] for name in ids}
    for key, path in paths.items():
        for row in (
            query_rows(database, path, problems, place_columns(key[0]), "id IN $ids", {"ids": list(ids)}) if ids else ()
        ):
            found[row[1]].append(Record(*key, *row))
    return found


# -- file:line ----------------------------------------------------------------------------------------------------


def parse_place(build: Build, what: str, start: str | Path | None) -> tuple[str, int] | None:
    """(file, line) as the tables write it, None where WHAT does not look like FILE:LINE."""
    match = re.fullmatch(r"(\S(?:.*\S)?):(\d+)", what)
    if not match or "\n" in what:
        return None
    name, line = match[1], int(match[2])
    for path in (Path(name), Path(start or ".", name)):
        if path.is_file():
            root = Path.cwd().resolve()
            whole = path.absolute() if path.is_symlink() else path.resolve()
            return (whole.relative_to(root).as_posix() if whole.is_relative_to(root) else name), line
    raw = [str(dataset.get("raw", "")).rstrip("/") for dataset in build.datasets.values()]
    known = any(name == folder or name.startswith(folder + "/") for folder in raw)
    looks_like = re.search(r"\.(jsonl?|ndjson|csv|tsv|parquet|txt)(\.gz|\.zst)?$", name) or re.fullmatch(
        r"[^\s/]+(/[^\s/]+)+", name
    )
    return (name, line) if known or looks_like else None


def find_at_line(
    database: "DuckDBPyConnection", build: Build, paths: Paths, problems: list[Problem], source: str, line: int
) -> list[Record]:
    """The records of a line of a raw file. Raises Problems that say why there is none."""
    values = {"source": source, "line": line}
    found = [
        Record(*key, *row)
        for key, path in paths.items()
        for row in query_rows(
            database, path, problems, place_columns(key[0]), "source = $source AND line = $line", values
        )
    ]
    if found:
        return found
    last: dict[str, int] = {}
    for path in paths.values():
        for name, end in query_rows(database, path, [], "source, max(line)", "true GROUP BY source", {}):
            last[name] = max(end, last.get(name, 0))
    where = f"{source}:{line}"
    if source in last:
        beyond = f"is beyond the end: the last record is at {last[source]:,}"
        blank = "has no record: the line is blank, or inside of a record of several lines"
        hint = "dvc repro, if the raw file has changed since"
        raise Problems([Problem(where, beyond if line > last[source] else blank, "", hint), *problems])
    if not last:
        raise Problems(problems)
    near = suggest_file(source, last)
    if Path(source).is_file():
        hint = near or f"dvc repro builds what params.yaml names; tilth inspect {source} says what the file is"
        raise Problems([Problem(where, "the file is in no dataset that was built", "", hint), *problems])
    raise Problems(
        [
            Problem(
                where,
                "there is no such raw file",
                "",
                (near or "the raw files: " + list_names(last)) + "; --text, if it is a text",
            ),
            *problems,
        ]
    )


def suggest_file(source: str, known: Collection[str]) -> str:
    """`did you mean 'data/raw/chat/chatml.jsonl'?`, or nothing."""
    same = [name for name in known if Path(name).name == Path(source).name]
    hint = did_you_mean(same[0], same) if same else did_you_mean(source, known)
    return hint if hint.startswith("did") else ""


def list_names(names: Iterable[str], limit: int = 8) -> str:
    names = sorted(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def rows_of_places(
    database: "DuckDBPyConnection", build: Build, places: Iterable[tuple[str, str, int]]
) -> list[Record]:
    """Every row that comes from some raw records. places: (dataset, source, line) of each."""
    paths, problems = find_tables(build, *ROOMS)
    found: list[Record] = []
    for dataset, source, line in sorted(places):
        values = {"source": source, "line": line}
        for key, path in paths.items():
            if key[1] == dataset:
                where = "source = $source AND line = $line"
                found += [
                    Record(*key, *row)
                    for row in query_rows(database, path, problems, place_columns(key[0]), where, values)
                ]
    return found


# -- text ---------------------------------------------------------------------------------------------------------


def find_by_text(
    database: "DuckDBPyConnection", build: Build, paths: Paths, problems: list[Problem], text: str, limit: int
) -> tuple[list[Record], int]:
    """(records, how many there are): those with a turn that equals the text, else those that contain it.

    Keeps the first `limit` of each table: every row may contain a short text.
    """
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    values = {"text": text, "escaped": escaped, "quoted": f'"{escaped}"', "ascii": json.dumps(text)[1:-1]}
    found: dict[bool, list[Record]] = {True: [], False: []}
    totals = {True: 0, False: 0}
    for key, path in paths.items():
        try:
            columns = {} if key[0] == "rejected" else row_columns(path, build.datasets[key[1]]["kind"])
        except (OSError, ValueError) as error:
            problems.append(unreadable_problem(path, error))
            continue
        holds, exact = text_conditions(columns)
        used = {name: value for name, value in values.items() if f"${name}" in holds + exact}
        kept = {True: 0, False: 0}
        for *row, is_exact in query_rows(database, path, problems, f"{place_columns(key[0])}, {exact}", holds, used):
            is_exact = bool(is_exact)
            totals[is_exact] += 1
            if not limit or kept[is_exact] < limit:
                kept[is_exact] += 1
                found[is_exact].append(Record(*key, *row, exact=is_exact))
    return (found[True], totals[True]) if found[True] else (found[False], totals[False])


def text_conditions(columns: "Mapping[str, pa.DataType]") -> tuple[str, str]:
    """SQL for (a row contains $text, one of its turns equals $text). columns: empty for rejects."""
    if not columns:
        return "contains(raw, $escaped) OR contains(raw, $ascii) OR contains(raw, $text)", "contains(raw, $quoted)"
    holds, exact = [], []
    for name, column in columns.items():
        if is_messages(column):
            inside = {
                "content": "contains(m.content, $text)",
                "reasoning_content": "contains(m.reasoning_content, $text)",
            }
            inside |= {"tool_calls": "contains(m.tool_calls::VARCHAR, $escaped)"}
            found = " OR ".join(sql for key, sql in inside.items() if column.value_type.get_field_index(key) >= 0)
            holds.append(f"len(list_filter({name}, lambda m: {found})) > 0")
            exact.append(f"list_contains(list_transform({name}, lambda m: m.content), $text)")
        elif name != "label":
            holds.append(f"contains({name}::VARCHAR, ${'text' if name == 'ground_truth' else 'escaped'})")
            exact.append(f"coalesce({name}::VARCHAR = $text, false)")
    return " OR ".join(holds), " OR ".join(exact)
