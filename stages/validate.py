"""Check every row of one dataset, and reject the wrong ones with the reason.

data/ingested/<d>/rows/*.parquet -> data/validated/<d>.parquet: the rejects alone, rows are not copied

A reject: {id: 5f0e..., source: data/raw/chat/chatml.jsonl, line: 12, stage: validate, check: sft.known_roles,
detail: "messages[0] by 'narrator': expected that every role is system, user, assistant or tool", raw: "{...}"}
The checks are those of `validators/<kind>.py`, run batch by batch. Warnings about the dataset as a whole are printed, and
stored as JSON text under `warnings` in the file's metadata: {"sft.mojibake": "3 of 4,412 rows have ..."}.
"""

import importlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.params import read_engine, read_params
from stages.reading.parts import map_items, with_progress_bar
from stages.rows.tables import REJECTS, conserve, row_content, stop_if_too_many_rejects, to_table, write_table
from stages.rows.values import ENCODE

BATCH_ROWS = 50_000


class Validator(Protocol):
    """A module of `validators/` that says what makes a row of its kind right."""

    __name__: str
    CHECKS: dict[str, str]

    def failed_checks(self, table: pa.Table) -> pl.DataFrame:
        """(row, check, detail) of every failure."""

    def measure_rows(self, table: pa.Table) -> pl.DataFrame:
        """What `warnings_of` needs to know of each row."""

    def warnings_of(self, rows: pl.DataFrame, prompts: int) -> list[tuple[str, str]]:
        """(name, what is unusual) of a whole dataset."""


def validator_of(kind: str) -> Validator:
    return cast(Validator, importlib.import_module(f"validators.{kind}"))


def main(name: str) -> None:
    dataset = read_params("validate", name)["datasets"][name]
    folder = Path("data/ingested", name)
    parts = sorted((folder / "rows").glob("*.parquet"))
    examine = partial(examine_part, kind=dataset["kind"])
    if read_engine() == "ray":
        results = map_items(examine, parts, 0, "ray")
    else:
        # threads: Arrow and polars do nearly all of the work, and release Python's lock for it
        results = ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)).map(examine, parts)
    tables, measures = [REJECTS.empty_table()], []
    for rejects, measured in with_progress_bar(results, len(parts), f"validate {name}"):
        tables.append(rejects)
        measures += measured
    rejects = pa.concat_tables(tables)
    count = sum(pq.read_metadata(part).num_rows for part in parts)
    conserve("validate", name, count, rejects.num_rows, rows=count - rejects.num_rows)
    before = pq.read_table(folder / "rejects.parquet")
    everything = pa.concat_tables([before, rejects])
    stop_if_too_many_rejects(name, everything, count + before.num_rows, dataset["max_reject_share"])
    warnings = warnings_of(pl.concat(measures), dataset["kind"]) if measures else {}
    for check, text in warnings.items():
        print(f"  warning: {check}: {text}")
    metadata = {"warnings": json.dumps(warnings)} if warnings else None
    write_table(Path("data/validated", f"{name}.parquet"), rejects.replace_schema_metadata(metadata))


def warnings_of(measures: pl.DataFrame, kind: str) -> dict[str, str]:
    """{check: what is unusual} of a whole dataset. measures: of each row that passed."""
    validator = validator_of(kind)
    return dict(validator.warnings_of(measures, measures["prompt"].n_unique()))


def examine_part(path: Path, kind: str) -> tuple[pa.Table, list[pl.DataFrame]]:
    """(rejects, [measures]) of one Parquet file of ingest."""
    validator = validator_of(kind)
    tables = (pa.Table.from_batches([batch]) for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS))
    results = [examine_table(table, validator) for table in tables]
    rejects = pa.concat_tables([REJECTS.empty_table(), *(rejects for rejects, _ in results)])
    return rejects, [measures for _, measures in results]


def examine_table(table: pa.Table, validator: Validator) -> tuple[pa.Table, pl.DataFrame]:
    """(rejects, measures) of a table of rows: rejects of those that fail a check, measures of the others."""
    found = first_failures(table, validator)
    # the hash as a number, an eighth of its text's size
    prompts = (
        cast(pl.Series, pl.from_arrow(table["prompt_key"])).str.slice(0, 15).str.to_integer(base=16, dtype=pl.Int64)
    )
    passed = np.ones(table.num_rows, bool)
    passed[found["row"].to_numpy()] = False
    measures = validator.measure_rows(table).with_columns(prompt=prompts).filter(pl.Series(passed, dtype=pl.Boolean))
    return rejects_of(table, found, validator), measures


def first_failures(table: pa.Table, validator: Validator) -> pl.DataFrame:
    """(row, check, detail) of each failing row: its first failing check; `detail` has them all."""
    order = {check: i for i, check in enumerate(validator.CHECKS)}
    found = (
        validator.failed_checks(table)
        .with_columns(
            order=pl.col("check").replace_strict(order, return_dtype=pl.Int32),
            detail=pl.format(
                "{}: expected that {}",
                "detail",
                pl.col("check").replace_strict(validator.CHECKS, return_dtype=pl.String),
            ),
        )
        .sort("row", "order")
    )
    return found.group_by("row", maintain_order=True).agg(
        pl.col("check").first(), pl.col("detail").unique(maintain_order=True).str.join("; ")
    )


def rejects_of(table: pa.Table, failures: pl.DataFrame, validator: Validator) -> pa.Table:
    """The rejects of failing rows. failures: see `first_failures`."""
    failing = table.take(pa.array(failures["row"].to_list(), pa.int64())).to_pylist()
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
                "raw": ENCODE(row_content(row, kind)).decode(),
            }
            for row, check, detail in zip(failing, failures["check"], failures["detail"], strict=True)
        ],
        REJECTS,
    )
