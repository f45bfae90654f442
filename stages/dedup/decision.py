"""The decision on each row of a dataset: train, eval or reject. A DuckDB database holds the keys of the rows.

decision = Decision(parts, invalid, seed=7, eval_fraction=0.15)
decision.reject("curate.duplicate", decision.run_query("duplicates"))    # stages/dedup/sql/duplicates.sql
decision.side                                                      # (rows,) of OUT, TRAIN or EVAL
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.dedup.split import register_normalised

SQL_FOLDER = Path(__file__).parent / "sql"
OUT, TRAIN, EVAL = 0, 1, 2
SPILL_FOLDER = Path(".work/duckdb")
PartRows = tuple[Path, np.ndarray]  # a part, and the numbers of some rows in it


class Decision:
    """The side of each ingested row. Rows are numbered through all parts, in the order of the raw files.

    side: (rows,) of OUT, TRAIN or EVAL. reasons: {row: (check, detail)} of the rows that curate rejects.
    split_key: the expression of `split_key_sql`. pinned: the split keys that are always on the eval side.
    """

    def __init__(
        self,
        parts: Sequence[Path],
        invalid: Path,
        seed: int,
        eval_fraction: float,
        split_key: str = "prompt_key",
        pinned: Iterable[str] = (),
    ) -> None:
        counts = [pq.read_metadata(part).num_rows for part in parts]
        self.parts, self.first_rows = parts, np.r_[0, np.cumsum(counts)].astype(np.int64)[:-1]
        self.reasons: dict[int, tuple[str, str]] = {}
        self.database = register_normalised(open_database())
        files = [str(part) for part in parts]
        self.database.register("parts", pa.table({"file": files, "first_row": self.first_rows}))
        values = {"files": files, "rejects": str(invalid), "seed": str(seed), "eval_fraction": eval_fraction}
        self.database.register("pinned", pa.table({"key": pa.array(sorted(pinned), pa.string())}))
        self.database.execute(read_query("keys").replace("{split_key}", split_key, 1), values)
        rows = self.database.execute("SELECT row, is_eval FROM keys").fetchnumpy()
        self.side = np.full(sum(counts), OUT, np.int8)
        self.side[rows["row"]] = np.where(rows["is_eval"], EVAL, TRAIN)

    def run_query(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        """The result of a query of stages/dedup/sql as a list of tuples. values: of its parameters."""
        return self.database.execute(read_query(name), values or None).fetchall()

    def reject(self, check: str, details: Sequence[tuple[int, str]]) -> None:
        """Reject rows for a check. details: (row, detail) of each."""
        if not details:
            return
        self.reasons |= {row: (check, detail) for row, detail in details}
        rows = np.array([row for row, _ in details], np.int64)
        self.side[rows] = OUT
        self.database.register("selected", pa.table({"row": rows}))
        self.database.execute("DELETE FROM keys WHERE row IN (SELECT row FROM selected)")

    def places(self, rows: Iterable[int]) -> dict[int, str]:
        """{row: `<id> (<file>:<line>)`} of rows that are not rejected."""
        self.database.register("selected", pa.table({"row": pa.array(sorted(rows), pa.int64())}))
        return dict(
            self.database.execute(
                "SELECT row, id || ' (' || source || ':' || line || ')' FROM keys SEMI JOIN selected USING (row)"
            ).fetchall()
        )

    def remaining_rows(self) -> list[PartRows]:
        """(part, numbers of its rows that are not rejected) for each part."""
        bounds = [*self.first_rows, len(self.side)]
        return [
            (part, np.flatnonzero(self.side[first:end] != OUT))
            for part, first, end in zip(self.parts, bounds, bounds[1:], strict=False)
        ]

    def size_bytes(self) -> int:
        """The size of all parts on disk."""
        return sum(part.stat().st_size for part in self.parts)


def open_database() -> duckdb.DuckDBPyConnection:
    """DuckDB in memory with a low limit, and a folder for data beyond it."""
    SPILL_FOLDER.mkdir(parents=True, exist_ok=True)  # DuckDB makes only the last folder of a path
    database = duckdb.connect()
    database.execute(
        f"SET memory_limit = '400MB'; SET temp_directory = '{SPILL_FOLDER}'; SET preserve_insertion_order = false"
    )
    return database


def read_query(name: str) -> str:
    """The text of stages/dedup/sql/<name>.sql."""
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
