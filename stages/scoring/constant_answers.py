"""What always giving one answer would score: the most frequent right one. A model below it has learned little of the task.

constant_scores("quiz", "grpo", rows, {"exact_match": 1.0}, []) -> ("A", {"reward": 0.349, "reward/exact_match": 0.349})
"""

from collections import Counter

import numpy as np

from stages.rows.types import Row
from stages.scoring.own_metrics import metric_arguments, metric_columns, rewards_of_answers
from stages.scoring.statistics import FEW_ROWS
from validators._answers import answer_of
from validators._truths import alternatives, final_answer

COMPARED = ("exact_match", "numeric_match")  # metrics and rewards that compare an answer with the right one
LEAST_SHARE = 0.1
LONGEST = 60  # characters


def constant_scores(
    dataset: str, kind: str, rows: list[Row], rewards: dict[str, float], own: list[str]
) -> tuple[str, dict[str, float]]:
    """(an answer, {metric: what it scores if every row gets it}); only scores of LEAST_SHARE or more. rewards: their weights."""
    names, functions = [name for name in own if name in COMPARED], [name for name in rewards if name in COMPARED]
    if (not names and not functions) or len(rows) < FEW_ROWS:
        return "", {}
    answer = frequent_answer(metric_arguments([], rows, kind)["ground_truth"])
    if not answer:
        return "", {}
    answers = [answer] * len(rows)
    columns = {name: column.to_pylist() for name, column in metric_columns(dataset, names, answers, rows, kind).items()}
    if functions:
        columns |= {f"reward/{name}": values for name, values in rewards_of_answers(functions, answers, rows).items()}
    scores = {name: float(np.mean([value or 0 for value in values])) for name, values in columns.items()}
    if len(rewards) == len(functions) == 1:  # else the sum has parts that nobody knows
        scores["reward"] = rewards[functions[0]] * scores[f"reward/{functions[0]}"]
    return answer, {name: score for name, score in scores.items() if score >= LEAST_SHARE}


def frequent_answer(truths: list[str]) -> str:
    """The most frequent right answer, the first of them in the alphabet; "" where it is that of few rows, or a long text."""
    counts = Counter(first_right(truth) for truth in truths)
    answer, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return answer if count >= LEAST_SHARE * len(truths) and len(answer) <= LONGEST else ""


def first_right(truth: str) -> str:
    return next(iter(alternatives(truth)), "") or final_answer(truth) or answer_of(truth)
