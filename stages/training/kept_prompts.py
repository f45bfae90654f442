"""Which train prompts of a dataset are trained on where `difficulty` is asked for, and why the others are not.

data/kept/<d>/train.json      by `curate`: how many rows there are; so that the folder is there for whoever trains on the dataset
data/kept/<d>/rows.parquet    by `keep`, where `difficulty` names the dataset: see stages/keep.py

`train` depends on the folder of its dataset, so that a step on prompts that are sorted waits for them, and no other step does.
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
    """A row for each of data/train, in its order."""
    with pq.ParquetFile(path) as file:
        return file.read().to_pylist()


def write_rows(name: str, rows: list[Row]) -> None:
    path = kept_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")


def kept_facts(step: Mapping[str, Any]) -> dict[str, Any]:
    """{"kept": {rows, of, sha256 of their ids}} of a step that preflight says is trained on sorted prompts; else {}."""
    if not step.get("difficulty"):
        return {}
    name, path = step["dataset"], kept_path(step["dataset"])
    rows = read_rows(path) if path.exists() else []
    total = pq.read_metadata(f"data/train/{name}.parquet").num_rows
    if len(rows) != total:
        found = f"{len(rows):,} prompts of {total:,} are sorted" if path.exists() else "not there"
        raise Problems([Problem(str(path), found, "each train prompt once", f"dvc repro keep@{name}")])
    ids = [row["id"] for row in rows if row["check"] is None]
    text = "".join(f"{each}\n" for each in ids)
    return {"kept": {"rows": len(ids), "of": total, "sha256": hashlib.sha256(text.encode()).hexdigest()}}


def kept_ids(name: str) -> set[str]:
    return {row["id"] for row in read_rows(kept_path(name)) if row["check"] is None}


def delete_kept(name: str) -> bool:
    """Delete what was sorted of a dataset for which `difficulty` no longer asks; whether there was any.

    DVC leaves it there, and a clone has none: who depends on the folder would find another one there, and run again.
    """
    path = kept_path(name)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def describe_kept(rows: list[Row]) -> list[str]:
    """Lines of how often how many answers were right, and of what is not kept."""
    often = Counter((row["judged"], row["right"]) for row in rows if row["judged"])
    lines = []
    for judged in sorted({judged for judged, _ in often}, reverse=True):
        counts = ", ".join(f"{right}: {often[judged, right]:,}" for right in range(judged + 1) if often[judged, right])
        lines.append(f"prompts by right answers of {judged}: {counts}")
    reasons = Counter(row["check"] for row in rows if row["check"])
    return lines + [
        f"{count:,} by {check}" for check, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
