"""Check every row of one dataset; name the ones that are wrong.

data/ingested/<d>/rows/*.parquet -> data/validated/<d>.parquet: the rejects alone, rows are not copied

A reject: {id: 5f0e..., source: data/raw/chat/chatml.jsonl, line: 12, stage: validate, check: sft.known_roles,
detail: "messages[0] by 'narrator': every role is system, user, assistant or tool", raw: "{...}"}
The checks are those of `validators/<kind>.py`, run batch by batch.
"""

import importlib
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from stages._params import read_params
from stages._parts import mapped
from stages._shapes import ENCODE
from stages._tables import COLUMNS, REJECTS, conserve, stop_if_too_many, to_table, write

BATCH_ROWS = 50_000


def main(name):
    params = read_params()
    dataset = params["datasets"][name]
    folder = Path("data/ingested", name)
    parts = sorted((folder / "rows").glob("*.parquet"))
    # polars spreads each batch over the cores by itself: processes of our own would only start and wait
    found = mapped(partial(rejected_of_part, kind=dataset["kind"]), parts, 0, params.get("engine", "local"))
    rejects = pa.concat_tables([REJECTS.empty_table(), *found])
    count = sum(pq.read_metadata(part).num_rows for part in parts)
    conserve("validate", name, count, rejects.num_rows, rows=count - rejects.num_rows)
    before = pq.read_table(folder / "rejects.parquet")
    everything = pa.concat_tables([before, rejects])
    stop_if_too_many(name, everything, count + before.num_rows, dataset.get("max_reject_share", 0.05))
    write(Path("data/validated", f"{name}.parquet"), rejects)


def rejected_of_part(path, kind):
    """The rejects of one Parquet file of ingest."""
    validator = importlib.import_module(f"validators.{kind}")
    tables = (pa.Table.from_batches([batch]) for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS))
    return pa.concat_tables([REJECTS.empty_table(), *(rejected(table, validator) for table in tables)])


def rejected(table, validator):
    """The rejects of a table of rows: one for each failing row, by its first failing check; `detail` has them all."""
    order = {check: i for i, check in enumerate(validator.CHECKS)}
    found = (
        validator.failing(table)
        .with_columns(
            order=pl.col("check").replace_strict(order, return_dtype=pl.Int32),
            detail=pl.format(
                "{}: {}", "detail", pl.col("check").replace_strict(validator.CHECKS, return_dtype=pl.String)
            ),
        )
        .sort("row", "order")
    )
    found = found.group_by("row", maintain_order=True).agg(
        pl.col("check").first(), pl.col("detail").unique(maintain_order=True).str.join("; ")
    )
    failing = table.take(pa.array(found["row"].to_list(), pa.int64())).to_pylist()
    kind = validator.__name__.rpartition(".")[2]
    return to_table(
        [
            {
                "id": row["id"],
                "source": row["source"],
                "line": row["line"],
                "stage": "validate",
                "check": check,
                "detail": detail,
                "raw": ENCODE({key: row[key] for key in COLUMNS[kind]}).decode(),
            }
            for row, check, detail in zip(failing, found["check"], found["detail"], strict=True)
        ],
        REJECTS,
    )
