"""How many rows and records went through a dataset's stages, from small columns of its tables and their metadata.

    count_ingested(build, "data/ingested/chat")["records"]        # Counter({"data/raw/chat/alpaca.json": 900, ...})
    count_rejects(build, "data/rejected/chat.parquet")["curate"]  # Counter({"curate.exact_duplicate": 70})

Avoids pq.read_table, Table.group_by and NumPy arrays: they import pandas, which takes half a second.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from commands.builds.build import Build, file_of, files_of
from commands.builds.facts import StageFacts
from commands.builds.git import Missing

if TYPE_CHECKING:
    import pyarrow as pa

Counts = dict[str, Counter[str]]  # {rows, records, rejected: by raw file}


def output_files(build: Build, folder: str) -> Mapping[str, str | None]:
    """{path: md5} of the files of an output; md5 is None where the cache has lost the list but the files are here."""
    try:
        return files_of(build, folder) if folder in build.outs else {}
    except Missing:
        here = sorted(path.as_posix() for path in Path(folder).rglob("*") if path.is_file())
        if build.rev or not here:
            raise
        return dict.fromkeys(here)


def fill_in_counts(
    entries: dict[str, StageFacts],
    counts: Counts,
    refused: dict[str, Counter[str]] | None,
    sides: dict[str, int | None],
) -> None:
    """Set in, rejected and out of each stage; None where bytes are missing."""
    rejected = {room: None if refused is None else dict(refused[room].most_common()) for room in entries}
    rows = sum(counts["rows"].values()) if counts["rows"] else None
    if rows is None and refused is not None and None not in sides.values():
        rows = sum(count or 0 for count in sides.values()) + refused["validate"].total() + refused["curate"].total()
    records = sum(counts["records"].values()) if counts["rows"] else None
    valid = rows - refused["validate"].total() if rows is not None and refused is not None else None
    for room, into, out in (
        ("ingest", records, {"rows": rows}),
        ("validate", rows, {"rows": valid}),
        ("curate", valid, sides),
    ):
        entries[room] |= {"in": into, "rejected": rejected[room], "out": out}


def count_rejects(build: Build, path: str) -> dict[str, Counter[str]]:
    """{stage: {check: rejects}} of a file of rejects."""
    from stages.rows.rejects import counts_by_check, reject_counts

    found = reject_counts(file_of(build, path))
    return {room: Counter(counts_by_check(found, room)) for room in ("ingest", "validate", "curate")}


def count_rows(build: Build, path: str) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(file_of(build, path)).num_rows


def count_ingested(build: Build, folder: str) -> Counts:
    """{rows, records, rejected: {raw file: count}} of ingest. The rows of one record stand side by side."""
    import pyarrow.parquet as pq

    found: Counts = {"rows": Counter(), "records": Counter(), "rejected": Counter()}
    for path in sorted(output_files(build, folder)):
        columns = ["source"] if path.endswith("rejects.parquet") else ["source", "line"]
        table = pq.ParquetFile(file_of(build, path), read_dictionary=["source"]).read(columns=columns)
        if path.endswith("rejects.parquet"):
            found["rejected"].update(count_per_file(table)[0])
            found["records"].update(count_per_file(table)[0])
        else:
            rows, records = count_per_file(table)
            found["rows"].update(rows)
            found["records"].update(records)
    return found


def count_per_file(table: "pa.Table") -> tuple[Counter[str], Counter[str]]:
    """(rows, records) of each raw file of a table."""
    import pyarrow.compute as pc

    if not len(table):
        return Counter(), Counter()
    files = table["source"].unify_dictionaries().combine_chunks()
    rows = count_names(files)
    if "line" not in table.column_names:
        return rows, rows
    lines, codes = table["line"].combine_chunks(), files.indices
    changed = pc.or_(pc.not_equal(lines[1:], lines[:-1]), pc.not_equal(codes[1:], codes[:-1]))
    return rows, count_names(files[1:].filter(changed)) + Counter([files[0].as_py()])


def count_names(names: "pa.DictionaryArray") -> Counter[str]:
    return Counter({item["values"]: item["counts"] for item in names.value_counts().to_pylist()})
