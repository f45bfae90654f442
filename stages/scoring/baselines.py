"""What no model at all would score: one answer to every question, or the length of an answer alone. A model below it has learned little.

baselines("quiz", "grpo", rows, {"exact_match": 1.0}, []) -> {"reward": {"constant": 0.349, "constant_answer": "A"}, ...}
baselines("pairs", "preference", rows, {}, []) -> {"pair_accuracy": {"constant": 0.681, "constant_side": "longer"}}
"""

from collections import Counter
from collections.abc import Sequence
from math import isfinite

import numpy as np

from stages.rows.types import Message, Row
from stages.scoring.own_metrics import metric_arguments, metric_columns, rewards_of_answers
from stages.scoring.statistics import FEW_ROWS, Item, auc, round_or_none, wins
from validators._answers import answer_of
from validators._truths import alternatives, final_answer

COMPARED = ("exact_match", "numeric_match")  # metrics and rewards that compare an answer with the right one
LEAST_SHARE = 0.1
LONGEST = 60  # characters


def baselines(dataset: str, kind: str, rows: list[Row], rewards: dict[str, float], own: list[str]) -> dict[str, Item]:
    """{metric: {"constant", and "constant_answer" or "constant_side"}} of the metrics where it is worth knowing. rewards: their weights."""
    if len(rows) < FEW_ROWS:
        return {}
    if kind in ("preference", "kto"):
        side, score = length_score(kind, rows)
        metric = "auc" if kind == "kto" else "pair_accuracy"
        return {metric: {"constant": round_or_none(score), "constant_side": side}} if isfinite(score) else {}
    answer, scores = constant_scores(dataset, kind, rows, rewards, own)
    return {name: {"constant": round_or_none(score), "constant_answer": answer} for name, score in scores.items()}


def constant_scores(
    dataset: str, kind: str, rows: list[Row], rewards: dict[str, float], own: list[str]
) -> tuple[str, dict[str, float]]:
    """(an answer, {metric: what it scores if every row gets it}); only scores of LEAST_SHARE or more. rewards: their weights."""
    names, functions = [name for name in own if name in COMPARED], [name for name in rewards if name in COMPARED]
    if not names and not functions:
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


def length_score(kind: str, rows: list[Row]) -> tuple[str, float]:
    """(`longer` or `shorter`, what its `pair_accuracy` or `auc` is) of taking answers by their characters, equal ones counted half."""
    if kind == "kto":
        lengths = np.array([characters(row["completion"]) for row in rows])
        longer = float(auc(lengths, np.array([row["label"] for row in rows], float))(np.ones((1, len(rows))))[0])
    else:
        differences = np.array([characters(row["chosen"]) - characters(row["rejected"]) for row in rows])
        longer = float(wins(differences).mean())
    return ("longer", longer) if longer >= 0.5 else ("shorter", 1 - longer)


def characters(turns: Sequence[Message]) -> int:
    return sum(len(turn["content"] or "") for turn in turns)
