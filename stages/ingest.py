"""Read the raw files of one dataset into rows of its kind.

data/raw/<d> (a file or a folder) -> data/ingested/<d>/rows.parquet, data/ingested/<d>/rejects.parquet

A row, of kind sft: {messages: [{role: user, content: "Reverse abc."}, {role: assistant, content: cba}], tools: null,
id: 5f0e..., source: data/raw/chat/chatml.jsonl, line: 12, prompt_key: 9a1c..., claim_key: null}
"""

import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from stages._params import read_params
from stages._readers import raw_files, records
from stages._shapes import Unreadable, identify, rows_of, shape_of
from stages._tables import REJECTS, conserve, row_schema, stop_if_too_many, to_table, writing

BATCH_RECORDS = 20_000


def main(name):
    dataset = read_params()["datasets"][name]
    folder = Path("data/ingested", name)
    kind, counts = dataset["kind"], Counter()
    schema = row_schema(kind, keys=True)
    files = raw_files(dataset["raw"], f"datasets.{name}.raw")
    partial = folder / "rejects.parquet"
    with writing(folder / "rows.parquet", schema, "none") as rows_out, writing(partial, REJECTS, "none") as rejects_out:
        for path in files:
            source, shapes = path.as_posix(), Counter()
            reader = records(path)
            while batch := list(islice(reader, BATCH_RECORDS)):
                rows, rejects = convert(batch, kind, source)
                rows_out.write_table(to_table(rows, schema))
                rejects_out.write_table(to_table(rejects, REJECTS))
                counts.update(records=len(batch), rows=len({row["line"] for row in rows}), rejects=len(rejects))
                shapes.update(shape_of(record.value) or "unknown" for record in batch if record.value is not None)
            print(f"  {source}: {', '.join(f'{count:,} {shape}' for shape, count in shapes.most_common())}")
    conserve("ingest", name, counts["records"], counts["rejects"], rows=counts["rows"])
    try:
        stop_if_too_many(name, pq.read_table(partial), counts["records"], dataset.get("max_reject_share", 0.05))
    except Exception:
        os.remove(folder / "rows.parquet")
        os.remove(partial)
        raise


def convert(batch, kind, source):
    """(rows, rejects) of a batch of records: each record is in one of them, and in one only."""
    rows, rejects = [], []
    for record in batch:
        check, detail = record.fault or (None, None)
        if not check:
            try:
                made = rows_of(record.value, kind)
                rows += [row | identify(row, kind) | {"source": source, "line": record.line} for row in made]
                continue
            except Unreadable as error:
                check, detail = error.check, error.detail
        rejects.append(
            {
                "id": None,
                "source": source,
                "line": record.line,
                "stage": "ingest",
                "check": check,
                "detail": detail,
                "raw": record.raw,
            }
        )
    return rows, rejects
