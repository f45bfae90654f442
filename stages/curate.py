"""Put every row of one dataset into train, eval or quarantine: no duplicates, no contradictions, no leaks.

data/ingested/<d>/, data/validated/<d>.parquet -> data/train/<d>.parquet, data/eval/<d>.parquet, data/rejected/<d>.parquet

data/rejected/<d>.parquet has the rejects of all three stages, so that one file tells what became of every raw record
that is in neither train nor eval. The side of the split is a pure function of the seed and the row's first user turn:
a prompt stays on its side in every dataset, when rows are added and when they are reordered.
"""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages._params import read_params
from stages._shapes import ENCODE
from stages._tables import COLUMNS, REJECTS, conserve, row_schema, to_table, writing
from validators._problems import Problem, Problems

SQL = Path(__file__).parent / "sql"
OUT, TRAIN, EVAL = 0, 1, 2


def main(name):
    params = read_params()
    kind = params["datasets"][name]["kind"]
    folder, invalid = Path("data/ingested", name), Path("data/validated", f"{name}.parquet")
    parts = sorted((folder / "rows").glob("*.parquet"))
    before = [pq.read_table(folder / "rejects.parquet"), pq.read_table(invalid)]
    side, reasons = decide(parts, invalid, params["seed"], params["eval_fraction"])
    train, held_out = int((side == TRAIN).sum()), int((side == EVAL).sum())
    conserve("curate", name, len(side) - before[1].num_rows, len(reasons), train=train, eval=held_out)
    if not train:
        hint = f"`data/rejected` names the reasons; eval_fraction is {params['eval_fraction']}"
        raise Problems([Problem(f"datasets.{name}", "no row is left to train on", "at least one row in train", hint)])
    schema = row_schema(kind)
    with (
        writing(f"data/train/{name}.parquet", schema) as train_out,
        writing(f"data/eval/{name}.parquet", schema) as eval_out,
        writing(f"data/rejected/{name}.parquet", REJECTS) as rejected_out,
    ):
        first, rejected = 0, []
        for part in parts:
            table = pq.read_table(part)
            here = side[first : first + len(table)]
            kept = table.select(schema.names)
            train_out.write_table(kept.filter(pa.array(here == TRAIN)))
            eval_out.write_table(kept.filter(pa.array(here == EVAL)))
            rejected.append(quarantined(table, first, reasons, kind))
            first += len(table)
        everything = pa.concat_tables(before + rejected)
        rejected_out.write_table(
            everything.sort_by([("source", "ascending"), ("line", "ascending"), ("id", "ascending")])
        )


def decide(parts, invalid, seed, eval_fraction):
    """What becomes of each ingested row: (side, reasons).

    parts: the Parquet files of ingest, in order; rows are numbered through all of them. side: (rows,) of OUT, TRAIN or
    EVAL. reasons: {row number: (check, detail)} of the rows that curate turns away.
    """
    rows = [pq.read_metadata(part).num_rows for part in parts]
    database = duckdb.connect()
    database.execute(
        "SET memory_limit = '1GB'; SET temp_directory = '.work/duckdb'; SET preserve_insertion_order = false"
    )
    first_rows = pa.table(
        {"file": [str(part) for part in parts], "first_row": np.r_[0, np.cumsum(rows)[:-1]].astype(np.int64)}
    )
    database.register("parts", first_rows)
    database.execute(
        query("keys"),
        {
            "files": first_rows["file"].to_pylist(),
            "rejects": str(invalid),
            "seed": str(seed),
            "eval_fraction": eval_fraction,
        },
    )
    reasons = {}
    for check in ("duplicates", "contradictions"):
        found = database.execute(query(check)).fetchall()
        reasons |= {row: (f"curate.{check.removesuffix('s')}", detail) for row, detail in found}
        database.register("found", pa.table({"row": pa.array([row for row, _ in found], pa.int64())}))
        database.execute("DELETE FROM keys WHERE row IN (SELECT row FROM found)")
    kept = database.execute("SELECT row, is_eval FROM keys").fetchnumpy()
    side = np.full(sum(rows), OUT, np.int8)
    side[kept["row"]] = np.where(kept["is_eval"], EVAL, TRAIN)
    return side, reasons


def query(name):
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def quarantined(table, first, reasons, kind):
    """The rejects of a batch of rows that begins at row number `first`."""
    numbers = [row for row in range(first, first + len(table)) if row in reasons]
    rows = table.take(pa.array([row - first for row in numbers], pa.int64())).to_pylist()
    return to_table(
        [
            {
                "id": row["id"],
                "source": row["source"],
                "line": row["line"],
                "stage": "curate",
                "check": reasons[number][0],
                "detail": reasons[number][1],
                "raw": ENCODE({key: row[key] for key in COLUMNS[kind]}).decode(),
            }
            for number, row in zip(numbers, rows, strict=True)
        ],
        REJECTS,
    )
