"""Rows that preflight leaves out, read from its tables: train rows that a step does not train, eval rows that are not scored.

preflight/_dropped.csv: step,row,id,proof,reason. preflight/_unscored.csv: dataset,row,id,proof,reason

    count_by_proof(read_left_out(DROPPED, step="sft")) -> {"SAID": 3, "LENGTH": 1}
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DROPPED, UNSCORED = Path("preflight/_dropped.csv"), Path("preflight/_unscored.csv")
PROOFS = (
    "PROMPT",
    "SAID",
    "STOP",
    "BORDER",
    "CONTEXT",
    "TOOLS",
    "TEMPLATE",
    "LENGTH",
)  # docs/preflight.md explains them


def read_left_out(path: str | Path, **where: str) -> list[dict[str, str]]:
    """The rows of a table whose columns have these values, as dicts; [] if there is no such table.

    row: `source:line` of the raw data.
    """
    if not Path(path).exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[key] == value for key, value in where.items())]


def count_by_proof(rows: Iterable[dict[str, str]]) -> dict[str, int]:
    """{proof: count}, the most frequent first."""
    counts = Counter(row["proof"] for row in rows)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def left_out_of_dataset(dataset: str, steps: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[dict[str, str]]]]:
    """[(why, rows)] of a dataset: "left out of STEP" for each step on it, and "not scored". steps: {name: step} of the params."""
    trained = [step for step, given in steps.items() if given["dataset"] == dataset]
    found = [(f"left out of {step}", read_left_out(DROPPED, step=step)) for step in trained]
    return [*found, ("not scored", read_left_out(UNSCORED, dataset=dataset))]
