"""Which train prompts of a dataset in `difficulty` are trained on, and why the others are not.

data/kept/<d>/train.json      by `curate`: the number of rows; it makes the folder exist for every step on the dataset
data/kept/<d>/rows.parquet    by `keep`, if `difficulty` names the dataset: see stages/keep.py

`train` depends on the folder of its dataset, so only a step on sorted prompts waits for the sorting.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.rows.types import Row
from validators.problems import Problem, Problems

FOLDER = Path("data/kept")
SCHEMA = pa.schema(
    {
        "id": pa.string(), "source": pa.string(), "line": pa.int64(), "right": pa.int32(), "judged": pa.int32(),
        "check": pa.string(), "detail": pa.string(),
    }
)  # fmt: skip


def kept_path(name: str) -> Path:
    return FOLDER / name / "rows.parquet"


def read_rows(path: Path) -> list[Row]:
    """One row for each row of data/train, in its order."""
    with pq.ParquetFile(path) as file:
        return file.read().to_pylist()


def write_rows(name: str, rows: list[Row]) -> None:
    path = kept_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into DVC's cache
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")


def kept_facts(step: Mapping[str, Any]) -> dict[str, Any]:
    """{"kept": {rows, of, sha256 of their ids}} of a step on sorted prompts; {} for other steps. Raises Problems if unsorted."""
    if not step.get("difficulty"):
        return {}
    name, path = step["dataset"], kept_path(step["dataset"])
    rows = read_rows(path) if path.exists() else []
    total = pq.read_metadata(f"data/train/{name}.parquet").num_rows
    if len(rows) != total:
        found = f"{len(rows):,} prompts of {total:,} are sorted" if path.exists() else "not there"
        raise Problems([Problem(str(path), found, "each train prompt once", f"run: dvc repro keep@{name}")])
    ids = [row["id"] for row in rows if row["check"] is None]
    text = "".join(f"{each}\n" for each in ids)
    return {"kept": {"rows": len(ids), "of": total, "sha256": hashlib.sha256(text.encode()).hexdigest()}}


def kept_ids(name: str) -> set[str]:
    return {row["id"] for row in read_rows(kept_path(name)) if row["check"] is None}


def delete_kept(name: str) -> bool:
    """Delete the sorted prompts of a dataset that `difficulty` no longer names; True if there were any.

    DVC leaves the file in place, but a clone does not have it: a step would see a changed folder and train again.
    """
    path = kept_path(name)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def describe_kept(rows: list[Row]) -> list[str]:
    """Lines for the terminal: how many prompts have how many right answers, and why prompts are not kept."""
    counted = Counter((row["judged"], row["right"]) for row in rows if row["judged"])
    lines = []
    for judged in sorted({judged for judged, _ in counted}, reverse=True):
        counts = ", ".join(
            f"{right}: {counted[judged, right]:,}" for right in range(judged + 1) if counted[judged, right]
        )
        lines.append(f"prompts by right answers of {judged}: {counts}")
    reasons = Counter(row["check"] for row in rows if row["check"])
    return lines + [
        f"{count:,} by {check}" for check, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
