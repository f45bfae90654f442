"""The tables of a build, read by DuckDB: rows that fit a condition, as tuples; the content of a few of them.

ask(connect(), path, problems, columns_of("train"), "id = $id", {"id": "5f0e..."})
"""

from dataclasses import dataclass, field
from functools import cache

from commands.builds.build import SIDES, find_tables
from validators.problems import Problem

ROOMS = (*SIDES, "rejected")
MEMORY = "600MB"


@dataclass
class Record:
    """Where one row, or one record that became none, stands in a build. row: its number in the table of its room."""

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
    content: dict | str | None = field(default=None, repr=False)

    @property
    def place(self):
        return f"{self.source}:{self.line}"


@cache
def connect():
    import duckdb

    database = duckdb.connect()
    database.execute(f"SET memory_limit = '{MEMORY}'; SET enable_progress_bar = false")
    return database


def query_rows(database, path, problems, columns, where, given):
    """Rows of a Parquet file as tuples, as they come; a file that cannot be read becomes a problem."""
    import duckdb

    query = f"SELECT {columns} FROM read_parquet($path, file_row_number = true) WHERE {where}"
    try:
        answer = database.cursor().execute(query, {"path": str(path)} | given)
        while rows := answer.fetchmany(2048):
            yield from rows
    except duckdb.Error as error:
        problems.append(unreadable_problem(path, error))


def unreadable_problem(path, error):
    said = str(error).splitlines()[0]
    return Problem(str(path), f"cannot be read: {said}", "Parquet", "dvc checkout, or dvc repro; the rest is answered")


def row_columns(path, kind):
    """{name: type} of the columns of a kind's rows that a Parquet file has: builds of old had no tools in pairs, and less in messages."""
    import pyarrow.parquet as pq

    from stages.rows.tables import COLUMNS

    schema = pq.read_schema(path)
    return {name: schema.field(name).type for name in COLUMNS[kind] if name in schema.names}


def is_messages(column):
    """Whether an Arrow type is that of messages."""
    import pyarrow as pa

    return pa.types.is_list(column)


def spoken_sql(column):
    """SQL of what a message `m` says, its thought before it. column: the Arrow type of the messages."""
    thinks = column.value_type.get_field_index("reasoning_content") >= 0
    return "concat_ws(' ', m.reasoning_content, m.content)" if thinks else "m.content"


def place_columns(room):
    more = '"stage", "check", detail' if room == "rejected" else "NULL, NULL, NULL"
    return f"file_row_number, id, source, line, {more}"


def read_contents(build, paths, records):
    """Give the records their content: a row of its kind, or the raw text of a reject. paths: of tables, or None."""
    paths = find_tables(build, *ROOMS)[0] if paths is None else paths
    tables_used = {(record.room, record.dataset) for record in records}
    database = connect()
    for key in tables_used:
        try:
            names = ["raw"] if key[0] == "rejected" else list(row_columns(paths[key], build.datasets[key[1]]["kind"]))
        except (OSError, ValueError):
            continue  # whoever found the records has said so
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
