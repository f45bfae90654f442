"""Sort the train prompts of a grpo dataset by how often a model answered them rightly: those to train on, and the others.

data/sampled/<d>.parquet, data/train/<d>.parquet -> data/kept/<d>/rows.parquet

    {"id": "9a1c...", "source": "data/raw/problems/a.jsonl", "line": 7, "right": 0, "judged": 8, "check": "keep.too_hard",
     "detail": "0 of 8 answers are right"}

There is a row for each row of data/train, in its order; `check` is null where the prompt is kept. All answers to a prompt that is
never, or always, answered rightly earn the same, and GRPO learns nothing from them (Yu et al. 2025, DAPO: An Open-Source LLM
Reinforcement Learning System at Scale, section 3.2; there groups are left out after sampling, here prompts before it).
This stage neither samples nor grades, so that an edit of `keep` takes a second.
"""

from collections import Counter
from typing import Any

import pyarrow.parquet as pq

from stages.core.params import read_params
from stages.rows.tables import conserve
from stages.scoring.sample_cache import OUT
from stages.training import kept_prompts
from validators.problems import Problem, Problems


def main(name: str) -> None:
    params = read_params("keep", name)
    low, high = params["difficulty"][name]["keep"]
    if not params.get("steps"):
        kept_prompts.write_rows(name, [])
        print(f"keep {name}: no step trains on it, so nothing is sorted")
        return
    columns = ["id", "source", "line"]
    rows = pq.read_table(f"data/train/{name}.parquet", columns=columns).to_pylist()
    asked = {
        row["id"]: row
        for row in pq.read_table(OUT / f"{name}.parquet", columns=["id", "right", "left_out"]).to_pylist()
    }
    if others := [row for row in rows if row["id"] not in asked]:
        found, hint = f"{len(others):,} of {len(rows):,} train prompts were not asked", f"dvc repro difficulty@{name}"
        raise Problems([Problem(str(OUT / f"{name}.parquet"), found, "each of them", hint)])
    rows_with_check = [row | sort_prompt(asked[row["id"]], low, high) for row in rows]
    count, reasons = len(rows), Counter(row["check"] for row in rows_with_check if row["check"])
    conserve("keep", name, count, reasons.total(), kept=count - reasons.total())
    for line in kept_prompts.describe_kept(rows_with_check):
        print(f"  {line}")
    if reasons.total() == count:
        raise Problems([nothing_kept_problem(name, low, high, rows_with_check)])
    kept_prompts.write_rows(name, rows_with_check)


def sort_prompt(sampled: dict[str, Any], low: float, high: float) -> dict[str, Any]:
    """{right, judged, check, detail} of a prompt. sampled: {right: 1, 0 or None of each answer, left_out: why it was not asked}."""
    values = [value for value in sampled["right"] or () if value is not None]
    right, judged = int(sum(values)), len(values)
    detail = f"{right} of {judged} answers are right"
    if sampled["left_out"]:
        check, detail = "keep.not_asked", sampled["left_out"]
    elif not judged:
        check, detail = "keep.not_judged", "the function says of no answer whether it is right"
    elif right / judged < low:
        check = "keep.too_hard"
    elif right / judged > high:
        check = "keep.too_easy"
    else:
        check = detail = None
    return {"right": right, "judged": judged, "check": check, "detail": detail}


def nothing_kept_problem(name: str, low: float, high: float, rows: list[dict[str, Any]]) -> Problem:
    counts = ", ".join(f"{count:,} by {check}" for check, count in Counter(row["check"] for row in rows).most_common())
    hint = "set wider bounds or more samples, or take another model: one that is sometimes right"
    what = f"none of {len(rows):,} prompts is answered rightly in {low:g} to {high:g} of the samples: {counts}"
    return Problem(f"difficulty.{name}.keep", what, "some to train on", hint)
