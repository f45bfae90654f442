"""The models' answers to the same prompts, side by side: the rows where they differ most, and a random sample.

scores/<model>.parquet, data/eval/<d>.parquet -> plain data for the page, bounded for any number of scored rows

    side_by_side("problems", "grpo", ["base", "sft"], {"exact_match": 1.0}, 40, []) ->
        [{"prompt": [{"role": "user", "text": ...}], "reference": ..., "said": {"sft": {"text": ..., "score": 1.0}}, "spread": 1.0}]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.reporting.clips import clip

Answer = tuple[str, float]  # text, score
WIDTH = 700
TURNS = 6
RANDOM_SHARE = 0.25  # of the rows shown; the most different rows alone would mislead


def side_by_side(
    dataset: str, kind: str, models: list[str], functions: dict[str, float], limit: int, metrics: list[str]
) -> list[dict[str, Any]]:
    """Rows of one dataset with the answer of each model; [] where its kind has no answers or nothing was scored."""
    path = Path(f"data/eval/{dataset}.parquet")
    answers = {model: scored_answers(model, dataset, kind, functions, metrics) for model in models}
    answers = {model: found for model, found in answers.items() if found}
    if kind == "kto" or not answers or not path.exists():
        return []
    shared = sorted(set.intersection(*(set(found) for found in answers.values())))
    chosen = select_rows({row: [answers[model][row] for model in answers] for row in shared}, limit)
    rows = pq.read_table(path, filters=[("id", "in", list(chosen))]).to_pylist() if chosen else []
    by_id = {row["id"]: row for row in rows}
    return [
        question(by_id[row], kind)
        | {
            "dataset": dataset,
            "random": random,
            "spread": score_spread([answers[model][row] for model in answers]),
            "said": {model: {**clip(found[row][0], WIDTH), "score": found[row][1]} for model, found in answers.items()},
        }
        for row, random in chosen.items()
        if row in by_id
    ]


def scored_answers(
    model: str, dataset: str, kind: str, functions: dict[str, float], metrics: list[str]
) -> dict[str, Answer]:
    """{id: (text, score)}: the answers of a model to a dataset's eval rows; empty where it was not scored."""
    path = Path(f"scores/{model}.parquet")
    if not path.exists():
        return {}
    table = pq.read_table(path)
    if "generation" not in table.column_names:
        return {}
    table = table.filter(pc.equal(table["dataset"], dataset))
    weights = (
        dict.fromkeys(metrics[:1], 1.0)
        if kind != "grpo"
        else {f"reward/{name}": weight for name, weight in functions.items()}
    )
    totals = [0.0] * len(table)
    for column in weights.keys() & set(table.column_names):
        for i, value in enumerate(table[column].to_pylist()):
            totals[i] += weights[column] * (value or 0.0)
    texts = (text or "" for text in table["generation"].to_pylist())
    return dict(
        zip(table["id"].to_pylist(), zip(texts, (round(total, 4) for total in totals), strict=True), strict=True)
    )


def score_spread(answers: Sequence[Answer]) -> float:
    """The largest score of one row minus the smallest."""
    scores = [score for _, score in answers]
    return round(max(scores) - min(scores), 4) if scores else 0.0


def select_rows(rows: dict[str, list[Answer]], limit: int) -> dict[str, bool]:
    """{id: from the random sample or not}: rows with the largest differences, and a few random ones; the largest difference first.

    rows: {id: [(text, score) of base, of the first step, ...]}. An id is a hash, so the order of ids is a random order, and
    it stays. Rows where trained models differ come before rows where only the base model differs.
    """

    def order(row: str) -> tuple[float, float, int, str]:
        answers = rows[row]
        texts = len({text for text, _ in answers})
        return -score_spread(answers), -score_spread(answers[1:]), -texts, row

    sample = sorted(rows)[: int(limit * RANDOM_SHARE)]
    chosen = sorted(set(rows) - set(sample), key=order)[: limit - len(sample)]
    return {row: row in sample for row in sorted([*chosen, *sample], key=order)}


def question(row: dict[str, Any], kind: str) -> dict[str, Any]:
    """{"id", "prompt": turns, "more_turns": how many are left out, "reference": text} of an eval row."""
    turns, reference = (
        (row["messages"][:-1], row["messages"][-1]["content"])
        if kind == "sft"
        else (row["prompt"], row["ground_truth"] if kind == "grpo" else row["chosen"][-1]["content"])
    )
    shown = [
        {"role": turn["role"], **clip(turn["content"] or turn.get("tool_calls") or "", WIDTH)}
        for turn in turns[-TURNS:]
    ]
    return {
        "id": row["id"],
        "prompt": shown,
        "more_turns": max(0, len(turns) - TURNS),
        "reference": clip(reference or "", WIDTH),
    }
