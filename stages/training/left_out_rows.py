"""What preflight leaves out, as its tables say: train rows that a step does not train, eval rows that are not scored.

preflight/_dropped.csv: step,row,id,proof,reason. preflight/_unscored.csv: dataset,row,id,proof,reason

    by_proof(left_out(DROPPED, step="sft")) -> {"SAID": 3, "LENGTH": 1}
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
    """The rows of one of the tables in which these columns have these values, as dicts; none where it is not there.

    row: `source:line` of the raw data.
    """
    if not Path(path).exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[key] == value for key, value in where.items())]


def count_by_proof(rows: Iterable[dict[str, str]]) -> dict[str, int]:
    """{proof: count}, the most frequent first."""
    found = Counter(row["proof"] for row in rows)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def left_out_of_dataset(dataset: str, steps: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[dict[str, str]]]]:
    """[(what they are left out of, rows)] of a dataset. steps: {name: step} as params have them, in order."""
    trained = [step for step, given in steps.items() if given["dataset"] == dataset]
    found = [(f"left out of {step}", read_left_out(DROPPED, step=step)) for step in trained]
    return [*found, ("not scored", read_left_out(UNSCORED, dataset=dataset))]
