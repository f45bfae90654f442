"""What becomes of each row of a dataset: train, eval or a reject, decided in a DuckDB database of keys.

decision = Decision(parts, invalid, seed=7, eval_fraction=0.15)
decision.reject("curate.duplicate", decision.ask("duplicates"))    # stages/dedup/sql/duplicates.sql
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
PartRows = tuple[Path, np.ndarray]  # a part, and numbers of rows within it


class Decision:
    """What becomes of each ingested row. Rows are numbered through all parts, in the order of the raw files.

    side: (rows,) of OUT, TRAIN or EVAL. reasons: {row: (check, detail)} of the rows that curate turns away.
    split_key: the expression of `split_key_sql`. pinned: the split keys that are held out whatever lot they draw.
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
        given = {"files": files, "rejects": str(invalid), "seed": str(seed), "eval_fraction": eval_fraction}
        self.database.register("pinned", pa.table({"key": pa.array(sorted(pinned), pa.string())}))
        self.database.execute(read_query("keys").replace("{split_key}", split_key, 1), given)
        kept = self.database.execute("SELECT row, is_eval FROM keys").fetchnumpy()
        self.side = np.full(sum(counts), OUT, np.int8)
        self.side[kept["row"]] = np.where(kept["is_eval"], EVAL, TRAIN)

    def ask(self, name: str, **given: object) -> list[tuple[Any, ...]]:
        """The answer of a query of stages/dedup/sql as a list of tuples."""
        return self.database.execute(read_query(name), given or None).fetchall()

    def reject(self, check: str, found: Sequence[tuple[int, str]]) -> None:
        """Turn rows away. found: (row, detail) of each."""
        if not found:
            return
        self.reasons |= {row: (check, detail) for row, detail in found}
        rows = np.array([row for row, _ in found], np.int64)
        self.side[rows] = OUT
        self.database.register("found", pa.table({"row": rows}))
        self.database.execute("DELETE FROM keys WHERE row IN (SELECT row FROM found)")

    def places(self, rows: Iterable[int]) -> dict[int, str]:
        """{row: `<id> (<file>:<line>)`} of rows that are still in."""
        self.database.register("found", pa.table({"row": pa.array(sorted(rows), pa.int64())}))
        return dict(
            self.database.execute(
                "SELECT row, id || ' (' || source || ':' || line || ')' FROM keys SEMI JOIN found USING (row)"
            ).fetchall()
        )

    def kept_of_parts(self) -> list[PartRows]:
        """(part, numbers within it of the rows that are still in) of each part."""
        bounds = [*self.first_rows, len(self.side)]
        return [
            (part, np.flatnonzero(self.side[first:end] != OUT))
            for part, first, end in zip(self.parts, bounds, bounds[1:], strict=False)
        ]

    def size_bytes(self) -> int:
        return sum(part.stat().st_size for part in self.parts)


def open_database() -> duckdb.DuckDBPyConnection:
    """DuckDB with little memory, and a folder for what exceeds it."""
    SPILL_FOLDER.mkdir(parents=True, exist_ok=True)  # DuckDB makes the last folder of a path and no other
    database = duckdb.connect()
    database.execute(
        f"SET memory_limit = '400MB'; SET temp_directory = '{SPILL_FOLDER}'; SET preserve_insertion_order = false"
    )
    return database


def read_query(name: str) -> str:
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
