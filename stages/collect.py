"""List the built datasets, and delete the files of datasets that params.yaml no longer has.

data/train/, data/eval/ -> data/train.json, data/eval.json

    {"chat": {"kind": "sft", "rows": 3741, "sha256": "5f0e..."}}

Stages that read all datasets depend on these lists, not on the folders: a stale file would make them run again in every
clone, and where a list is unchanged DVC does not run them.
"""

import json
from pathlib import Path
from typing import TypedDict

import pyarrow.parquet as pq

from stages.core.hashes import sha256
from stages.core.params import read_params
from stages.scoring.statistics import FEW_ROWS

FOLDERS = ("train", "eval", "rejected")


class Entry(TypedDict):
    """A dataset in a list. sha256: of its Parquet file."""

    kind: str
    rows: int
    sha256: str


def main() -> None:
    kinds = {name: dataset["kind"] for name, dataset in read_params("collect")["datasets"].items()}
    for folder in FOLDERS:
        for path in sorted(Path("data", folder).glob("*.parquet")):
            if path.stem not in kinds:
                print(f"collect: {path} belongs to no dataset of params.yaml, deleted")
                path.unlink()
    for folder in ("train", "eval"):
        listed = {name: entry(Path("data", folder, f"{name}.parquet"), kind) for name, kind in sorted(kinds.items())}
        Path("data", f"{folder}.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
        print(f"collect: {folder}: " + ", ".join(f"{name} {item['rows']:,}" for name, item in listed.items()))
    if few := [name for name, item in listed.items() if item["rows"] < FEW_ROWS]:
        what = f"{', '.join(few)} has" if len(few) == 1 else f"{', '.join(few)} have"
        print(
            f"collect: warning: {what} fewer than {FEW_ROWS} eval rows: their scores get no interval; raise eval_fraction"
        )


def entry(path: Path, kind: str) -> Entry:
    """Kind, number of rows and sha256 of one Parquet file."""
    return {"kind": kind, "rows": pq.read_metadata(path).num_rows, "sha256": sha256(path)}
