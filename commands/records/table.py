"""Queries of a build's tables by DuckDB: the rows that meet a condition, as tuples, and the content of a few of them.

query_rows(connect(), path, problems, place_columns("train"), "id = $id", {"id": "5f0e..."})
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.builds.build import SIDES, Build, find_tables
from validators.problems import Problem

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

ROOMS = (*SIDES, "rejected")
MEMORY = "600MB"
Paths = Mapping[tuple[str, str], Path]  # {(room, dataset): table}


@dataclass
class Record:
    """A row, or a rejected record, and its place in a build. room: train, eval or rejected. row: its number in that table.

    exact, likeness: how a search found it.
    """

    room: str
    dataset: str
    row: int
    id: str | None
    source: str
    line: int
    stage: str | None = None
    check: str | None = None
    detail: str | None = None
    exact: bool = True
    likeness: float | None = None
    content: dict[str, Any] | str | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        return f"{self.source}:{self.line}"


@cache
def connect() -> "DuckDBPyConnection":
    import duckdb

    database = duckdb.connect()
    database.execute(f"SET memory_limit = '{MEMORY}'; SET enable_progress_bar = false")
    return database


def query_rows(
    database: "DuckDBPyConnection",
    path: str | Path,
    problems: list[Problem],
    columns: str,
    where: str,
    values: Mapping[str, Any],
) -> Iterator[tuple[Any, ...]]:
    """Yields rows of a Parquet file as tuples; a file that cannot be read becomes a problem. values: of the $names in `where`."""
    import duckdb

    query = f"SELECT {columns} FROM read_parquet($path, file_row_number = true) WHERE {where}"
    try:
        answer = database.cursor().execute(query, {"path": str(path), **values})
        while rows := answer.fetchmany(2048):
            yield from rows
    except duckdb.Error as error:
        problems.append(unreadable_problem(path, error))


def unreadable_problem(path: str | Path, error: Exception) -> Problem:
    why = str(error).splitlines()[0]
    return Problem(
        str(path), f"cannot be read: {why}", "Parquet", "dvc checkout, or dvc repro; the rest of the output is complete"
    )


def row_columns(path: str | Path, kind: str) -> "dict[str, pa.DataType]":
    """{name: type} of the columns of a kind that a Parquet file has. Older builds have no tools in pairs and fewer message fields."""
    import pyarrow.parquet as pq

    from stages.rows.tables import COLUMNS

    schema = pq.read_schema(path)
    return {name: schema.field(name).type for name in COLUMNS[kind] if name in schema.names}


def is_messages(column: "pa.DataType") -> bool:
    """Whether an Arrow type is that of messages."""
    import pyarrow as pa

    return pa.types.is_list(column)


def spoken_sql(column: "pa.DataType") -> str:
    """SQL for the text of a message `m`, with its reasoning first. column: the Arrow type of the messages."""
    thinks = column.value_type.get_field_index("reasoning_content") >= 0
    return "concat_ws(' ', m.reasoning_content, m.content)" if thinks else "m.content"


def place_columns(room: str) -> str:
    """The columns that make a Record, as SQL."""
    more = '"stage", "check", detail' if room == "rejected" else "NULL, NULL, NULL"
    return f"file_row_number, id, source, line, {more}"


def read_contents(build: Build, paths: Paths | None, records: Sequence[Record]) -> None:
    """Set the content of each record: a row of its kind, or the raw text of a reject. paths: None finds the tables."""
    paths = find_tables(build, *ROOMS)[0] if paths is None else paths
    tables_used = {(record.room, record.dataset) for record in records}
    database = connect()
    for key in tables_used:
        try:
            names = ["raw"] if key[0] == "rejected" else list(row_columns(paths[key], build.datasets[key[1]]["kind"]))
        except (OSError, ValueError):
            continue  # the search has reported it
        here = [record for record in records if (record.room, record.dataset) == key]
        rows = {record.row for record in here}
        columns = ", ".join(["file_row_number", *names])
        answer = {
            first: rest
            for first, *rest in query_rows(
                database, paths[key], [], columns, "file_row_number IN $rows", {"rows": sorted(rows)}
            )
        }
        for record in here:
            values = dict(zip(names, answer.get(record.row, [None] * len(names)), strict=True))
            record.content = values["raw"] if key[0] == "rejected" else values
