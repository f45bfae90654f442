"""The rows of one dataset that differ between two builds, found by DuckDB in their Parquet files.

    with open_comparison(old, new) as database:        # {"train": path, "eval": path, "rejected": path} of each build
        count_changes(database)                        # [{change: moved, from: train, to: "rejected: sft.known_roles", rows: 3}]
        changed_records(database, old, new, limit=20)  # the rows themselves, with their texts

Two rows are the same if their ids are; two rejects without ids, if their raw texts are. So a row that only moved to another
line is no change. DuckDB reads the ids and places of all rows, and the texts of the rows that are shown.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection

KEPT = ("train", "eval")
SQL = Path(__file__).parent / "sql"
# a reject of ingest has no id: it never became a row
KEY = "coalesce(id, 'raw:' || md5(coalesce(raw, '')))"
MEMORY = "600MB"  # DuckDB's own; the process takes as much again at most
Files = Mapping[str, Path]  # {room: table} of a dataset in one build, without what is missing
Side = tuple[Any, Any, Any, Any]  # (key, source, line, place) of a row in one build; all None where it has no such row


@contextlib.contextmanager
def open_comparison(old: Files, new: Files) -> Iterator[DuckDBPyConnection]:
    """A database with the table `changes` of two builds of a dataset."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tilth-") as spill, duckdb.connect() as database:
        database.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
        database.execute("SET temp_directory = $folder", {"folder": spill})
        for version, files in (("old", old), ("new", new)):
            create_view(database, f"{version}_kept", [kept_sql(room, files[room]) for room in KEPT if room in files])
            create_view(
                database, f"{version}_rejects", [rejected_sql(files["rejected"])] if "rejected" in files else []
            )
        database.execute((SQL / "row_changes.sql").read_text(encoding="utf-8"))
        yield database


def create_view(database: DuckDBPyConnection, name: str, parts: Sequence[str]) -> None:
    """Create a view of (key, source, line, place) over all parts; there may be none."""
    nothing = "SELECT ''::VARCHAR AS key, ''::VARCHAR AS source, 0::BIGINT AS line, ''::VARCHAR AS place LIMIT 0"
    database.execute(f"CREATE VIEW {name} AS " + " UNION ALL ".join(parts or [nothing]))


def kept_sql(room: str, path: Path) -> str:
    return f"SELECT id AS key, source, line, '{room}' AS place FROM read_parquet({quote_path(path)})"


def rejected_sql(path: Path) -> str:
    return (
        f"SELECT {KEY} AS key, source, line, 'rejected: ' || \"check\" AS place FROM read_parquet({quote_path(path)})"
    )


def quote_path(path: str | Path) -> str:
    """A path as a string of SQL, with brackets and stars escaped: DuckDB would take them for a pattern."""
    text = "".join(f"[{c}]" if c in "*?[" else c for c in str(path)) if set(str(path)) & set("*?[") else str(path)
    return "'" + text.replace("'", "''") + "'"


def count_rows(path: Path | None) -> int | None:
    """How many rows a Parquet file has, None where there is no file."""
    import pyarrow.parquet as pq

    return None if path is None else pq.read_metadata(path).num_rows


def count_changes(database: DuckDBPyConnection) -> list[dict[str, Any]]:
    """[{change, from, to, rows}], the most rows first; `from` or `to` is None where only one build has the row."""
    found = database.execute(
        "SELECT change, old_place, new_place, count(*) FROM changes GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3"
    ).fetchall()
    return [dict(zip(("change", "from", "to", "rows"), row, strict=True)) for row in found]


def changed_records(database: DuckDBPyConnection, old: Files, new: Files, limit: int = 0) -> list[dict[str, Any]]:
    """[{change, from, to, old, new}]: old and new are {id, source, line, text} or None. limit: 0 for all."""
    found = database.execute(
        "FROM changes ORDER BY change, coalesce(new_source, old_source), coalesce(new_line, old_line), old_key, new_key"
        + (f" LIMIT {limit}" if limit else "")
    ).fetchall()
    sides = {"old": [row[1:5] for row in found], "new": [row[5:9] for row in found]}
    texts = {version: texts_of(database, files, sides[version]) for version, files in (("old", old), ("new", new))}
    return [
        {
            "change": row[0],
            "from": row[4],
            "to": row[8],
            **{version: changed_record(sides[version][number], texts[version]) for version in ("old", "new")},
        }
        for number, row in enumerate(found)
    ]


def changed_record(side: Side, texts: Mapping[Side, str]) -> dict[str, Any] | None:
    key, source, line, _ = side
    if key is None:
        return None
    return {"id": None if key.startswith("raw:") else key, "source": source, "line": line, "text": texts.get(side, "")}


def texts_of(database: DuckDBPyConnection, files: Files, sides: Iterable[Side]) -> dict[Side, str]:
    """The texts of rows: JSON of the columns that are trained on, or the raw text of a reject."""
    texts: dict[Side, str] = {}
    for room, path in files.items():
        wanted = {side for side in sides if side[0] and side[3].split(":")[0] == room}
        if not wanted:
            continue
        key = KEY if room == "rejected" else "id"
        lines = ", ".join(str(line) for line in sorted({side[2] for side in wanted}))
        rows = database.sql(
            f"SELECT *, {key} AS key FROM read_parquet({quote_path(path)}) WHERE line IN ({lines})"
        ).to_arrow_table()
        for row in rows.to_pylist():
            place = f"rejected: {row['check']}" if room == "rejected" else room
            side = row["key"], row["source"], row["line"], place
            if side in wanted:
                texts[side] = row["raw"] or "" if room == "rejected" else content_as_json(row)
    return texts


def content_as_json(row: Mapping[str, Any]) -> str:
    """The columns that are trained on as JSON, without nulls."""
    from stages.rows.identity import messages_to_hash
    from stages.rows.values import ENCODE

    content = {
        key: value for key, value in row.items() if value is not None and key not in ("id", "source", "line", "key")
    }
    return ENCODE(
        {key: messages_to_hash(value) if isinstance(value, list) else value for key, value in content.items()}
    ).decode()
