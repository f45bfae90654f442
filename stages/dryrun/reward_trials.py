"""Try reward functions before a model learns from them: does the right answer earn the most, and every other one less?

    try_functions(step, rows, names, tokenizer, where) -> [Trial("exact_match", scores, again, seconds), ...]

scores is {"truth": (rows,) floats, "corrupted": ..., "other": ..., "empty": ..., "repeated": ...}: each row's ground truth as
the answer, the same with every word changed, another row's ground truth, an empty answer, and those of hostile_answers.py.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.dryrun.hostile_answers import HOSTILE_KINDS, WITHOUT_TRUTH, hostile_answers
from stages.rows.batches import batches, origins
from stages.rows.types import Row
from stages.training.reward_calls import score_answers, unknown_field_problems
from stages.training.trl import METHOD_COLUMNS
from stages.training.types import ResolvedStep, Tokenizer
from validators.problems import Problems

WRONG_KINDS = ("corrupted", "other", "empty")
FORM_ONLY_SHARE = (
    0.5  # of other rows' truths that earn no less: such a function does not check whether the answer is right
)
TOLERATED_SHARE = 0.05  # share of the rows that a kind of hostile answers may win
BATCH, SHOWN_LETTERS = 64, 60
WORD = re.compile(r"\w+")
NEXT_CHARACTER = str.maketrans("0123456789" + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                     "1234567891" + "bcdefghijklmnopqrstuvwxyza" + "BCDEFGHIJKLMNOPQRSTUVWXYZA")  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """The scores by one function. again: whether a second call gave the same. seconds: for one answer.

    wrong: the first wrong answer that earns no less than the truth, in words; "" where none does.
    """

    function: str
    scores: dict[str, np.ndarray]
    again: bool
    seconds: float
    wrong: str = ""


def sample_rows(path: str | Path, wanted: int) -> tuple[list[Row], list[str]]:
    """(rows, names): `wanted` rows of a file, spread evenly over it, with the `source:line` of each."""
    import pyarrow.parquet as pq

    count = pq.read_metadata(path).num_rows
    chosen = np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int)) if count else np.zeros(0, int)
    rows, first = [], 0
    for batch in batches(path, METHOD_COLUMNS["grpo"]):
        rows += [batch[i - first] for i in chosen[(chosen >= first) & (chosen < first + len(batch))]]
        first += len(batch)
    return rows, origins(path, chosen.tolist())


def try_functions(
    step: ResolvedStep, rows: list[Row], names: list[str], tokenizer: Tokenizer, where: str
) -> list[Trial]:
    """A Trial of each function of a grpo step. Raises Problems for every function that fails, each with its first row."""
    truths = [row["ground_truth"] for row in rows]
    answers = probe_answers(truths) | hostile_answers(truths, [last_question(row) for row in rows])
    trials, problems = [], []
    for function in step["rewards"]:
        if unknown := unknown_field_problems(function, rows, where):
            problems += unknown
            continue
        try:
            trials.append(try_function(function, rows, names, answers, tokenizer, where))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return trials


def try_function(
    function: str,
    rows: list[Row],
    names: list[str],
    answers: Mapping[str, Sequence[str | None]],
    tokenizer: Tokenizer,
    where: str,
) -> Trial:
    scores, seconds, calls = {}, 0.0, 0
    for kind, texts in answers.items():
        positions = [i for i, text in enumerate(texts) if text is not None]
        scores[kind] = np.full(len(rows), np.nan)
        started = time.perf_counter()
        scores[kind][positions] = call_in_batches(function, rows, names, texts, positions, tokenizer, where)
        seconds, calls = seconds + time.perf_counter() - started, calls + len(positions)
    everything = range(len(rows))
    again = call_in_batches(function, rows, names, answers["truth"], everything, tokenizer, where)
    same = np.array_equal(again, scores["truth"], equal_nan=True)
    return Trial(function, scores, same, seconds / max(1, calls), first_paid(scores, answers, names))


def first_paid(scores: Mapping[str, np.ndarray], answers: Mapping[str, Sequence[str | None]], names: list[str]) -> str:
    """The first wrong answer that earns no less than its row's truth: `'9' to data/raw/p.jsonl:3, of which '8' is the truth`."""
    for kind in WRONG_KINDS:
        paid = np.flatnonzero(scores[kind] >= scores["truth"])  # a NaN is neither
        if len(paid):
            truth, answer = (shorten(answers[each][paid[0]] or "") for each in ("truth", kind))
            return f"{answer} to {names[paid[0]]}, of which {truth} is the truth"
    return ""


def shorten(text: str) -> str:
    return repr(text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}...")


def call_in_batches(
    function: str,
    rows: list[Row],
    names: list[str],
    texts: Sequence[str | None],
    positions: Sequence[int],
    tokenizer: Tokenizer,
    where: str,
) -> np.ndarray:
    """The function's values for the rows at `positions`, in batches of a training's size."""
    parts = [np.zeros(0)]
    for first in range(0, len(positions), BATCH):
        part = positions[first : first + BATCH]
        given = [rows[i] for i in part], [text for i in part if (text := texts[i]) is not None]
        parts.append(score_answers([function], *given, tokenizer, where, [names[i] for i in part])[:, 0])
    return np.concatenate(parts)


def last_question(row: Row) -> str:
    """The text of the user's last turn in a row's prompt; "" if it is not a text."""
    turns = [turn.get("content") for turn in row["prompt"] if turn.get("role") == "user"]
    return turns[-1] if turns and isinstance(turns[-1], str) else ""


def probe_answers(truths: list[str]) -> dict[str, Sequence[str | None]]:
    """{kind: answers} to try on rows with these ground truths; None if a row has no such answer."""
    return {
        "truth": truths,
        "corrupted": [corrupt(truth) for truth in truths],
        "other": [next((other for other in nearby_truths(truths, i) if other.strip() != truths[i].strip()), None) for i in range(len(truths))],
        "empty": ["" if truth.strip() else None for truth in truths],
    }  # fmt: skip


def nearby_truths(truths: list[str], i: int) -> list[str]:
    """The truths after position `i`, then those before it, at most a hundred."""
    return [truths[(i + step) % len(truths)] for step in range(1, min(len(truths), 101))]


def corrupt(truth: str) -> str:
    """The text with every word and number changed, so that no part of it is right.

    corrupted("answer: 42, Paris") -> "bnswer: 52, Qaris"
    """
    changed = WORD.sub(
        lambda word: word[0][0].translate(NEXT_CHARACTER) + word[0][1:] if word[0].isascii() else "x", truth
    )
    return changed if changed != truth else truth + "x"


# -- what the trials say ----------------------------------------------------------------------------------------------


def underpaid_truths(trial: Trial) -> tuple[float, np.ndarray]:
    """(share, positions) of ground truths that earn less than the highest score of any answer."""
    below = ~(trial.scores["truth"] >= score_range(trial)[1])
    return below.mean(), np.flatnonzero(below)


def pays_no_truth(trial: Trial) -> bool:
    """Whether every ground truth earns what an empty answer earns, or what the worst does: it may be a target and no answer."""
    truths, empty = trial.scores["truth"], trial.scores.get("empty", np.zeros(0))
    lowest = np.nanmin(empty) if len(empty) and not np.isnan(empty).all() else score_range(trial)[0]
    return bool(len(truths)) and not np.isnan(truths).all() and bool(np.nanmax(truths) <= lowest)


def wrong_shares(trial: Trial) -> dict[str, float]:
    """{kind: share} of wrong answers that earn no less than the ground truth of their row."""
    return {kind: share_paid_as_truth(trial, kind) for kind in WRONG_KINDS}


def hostile_shares(trial: Trial) -> dict[str, float]:
    """{kind: share} of hostile answers that earn no less than the ground truth of their row, for the kinds that were tried."""
    return {
        kind: share_paid_as_truth(trial, kind)
        for kind in HOSTILE_KINDS
        if kind in trial.scores and not np.isnan(trial.scores[kind]).all()
    }


def paid_kinds(shares: Mapping[str, float]) -> list[str]:
    """The kinds of hostile answers that a function pays for. shares: {kind: share}."""
    return [kind for kind, share in shares.items() if share > TOLERATED_SHARE]


def judges_form_only(trial: Trial) -> bool:
    return share_paid_as_truth(trial, "other") > FORM_ONLY_SHARE


def share_paid_as_truth(trial: Trial, kind: str) -> float:
    """The share of answers of a kind that earn no less than the ground truth of their row, among rows where both have a score."""
    truth, given = trial.scores["truth"], trial.scores[kind]
    judged = ~np.isnan(given) & ~np.isnan(truth)
    return float((given >= truth)[judged].mean()) if judged.any() else 0.0


def wrong_answer_gain(trials: list[Trial], weights: Sequence[float]) -> dict[str, float]:
    """{kind: how much more a wrong answer earns than the ground truth, over all functions, on average}."""
    wrong = [kind for kind in (*WRONG_KINDS, *WITHOUT_TRUTH) if kind in trials[0].scores]
    total: dict[str, Any] = {
        kind: sum(weight * np.nan_to_num(trial.scores[kind]) for trial, weight in zip(trials, weights, strict=True))
        for kind in ("truth", *wrong)
    }
    scored = {kind: ~np.all([np.isnan(trial.scores[kind]) for trial in trials], axis=0) for kind in wrong}
    return {kind: float((total[kind] - total["truth"])[scored[kind]].mean()) for kind in wrong if scored[kind].any()}


def score_range(trial: Trial) -> tuple[float, float]:
    """(lowest, highest) score of the function; NaN if it scored nothing."""
    values = np.concatenate(list(trial.scores.values()))
    values = values[~np.isnan(values)]
    return (float(values.min()), float(values.max())) if len(values) else (np.nan, np.nan)
