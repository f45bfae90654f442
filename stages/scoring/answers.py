"""What is asked of a model about eval rows: what it says to them, and how likely it finds what they hold.

    measure("answers", model, Asked("sft", rows, "keep"), learned, options, 7) -> {"cut": [...], "cut_thinking": [...], "generation": [...]}

A dataset is measured in parts, each by itself, so that a part whose settings are the same need not be measured again
(`stages/scoring/measurement_cache.py`). What an answer is worth is no part of it: that is computed anew each time, without a model.
An edit of this module, or of one that it imports, measures every model again: keep what only scores out of it.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.scoring.generation import generate, sample, token_scores
from stages.training.messages import FailedProof
from stages.training.trainer_rows import scoring_input

# the settings, keys of `evaluate` in params.yaml, on which what is measured depends; of samples the seed too
SETTINGS = {
    "likelihood": ("batch_size", "chat_template_kwargs"),
    "answers": ("batch_size", "chat_template_kwargs", "max_new_tokens", "max_thinking_tokens"),
    "samples": (
        "batch_size",
        "chat_template_kwargs",
        "max_new_tokens",
        "max_thinking_tokens",
        "samples",
        "temperature",
    ),
}
PROMPTS = {"sft": lambda row: row["messages"][:-1]}  # the others have a prompt


@dataclass
class EvalRows:
    """Eval rows of one dataset. reasoning: `mask` where thoughts are not learned. judged: whether a metric reads answers."""

    kind: str
    rows: list
    reasoning: str = "keep"
    judged: bool = False


def parts_to_measure(asked: EvalRows, options: dict) -> list[str]:
    """What is measured of a dataset, in the order in which it is. options: `evaluate` of params.yaml."""
    likelihood = ["likelihood"] if asked.kind != "grpo" else []
    answers = ["answers"] if asked.kind in ("sft", "grpo") or (asked.kind == "preference" and asked.judged) else []
    return likelihood + answers + (["samples"] if asked.kind == "grpo" and options["pass_at_k"] else [])


def scorable_rows(render, asked: EvalRows) -> tuple[list, list]:
    """(the rows that the chat template can say, what is learned of each). preflight has named the others.

    Of sft the Sequences of a row, of the others but grpo (tokens of the prompt, of the answer, its labels) of each side.
    """
    kept, learned = [], []
    for row in asked.rows:
        with contextlib.suppress(FailedProof):
            learned.append(scoring_input(asked.kind, row, render, asked.reasoning))
            kept.append(row)
    return kept, learned


def measure_part(
    part: str, model, kind: str, rows: list, learned: list, options: dict, seed: int
) -> dict[str, pa.Array]:
    """Arrow columns of one part, each (rows,). rows, learned: see `scorable_rows`."""
    if part == "likelihood":
        return measure_likelihood(model, kind, learned)
    prompts = [PROMPTS.get(kind, lambda row: row["prompt"])(row) for row in rows]
    if part == "samples":
        drawn = sample(model, prompts, options["samples"], options["temperature"], seed)
        cut = [sum(flags) for flags in drawn.cut_thinking]
        return {
            "samples": pa.array(drawn.texts, pa.list_(pa.string())),
            "samples_cut_thinking": pa.array(cut, pa.int64()),
        }
    tools = None if kind == "grpo" else [row.get("tools") for row in rows]
    said = generate(model, prompts, tools)
    found = {"cut": pa.array(said.cut, pa.bool_()), "cut_thinking": pa.array(said.cut_thinking, pa.bool_())}
    return found | {"generation": pa.array(said.texts, pa.string())}


def measure_likelihood(model, kind, learned):
    if kind == "sft":
        return sft_scores(model, learned)
    if kind == "kto":
        return {"logp": mean_logp(model, [answer for (answer,) in learned])}
    chosen, rejected = zip(*learned, strict=True)
    return {"chosen_logp": mean_logp(model, chosen), "rejected_logp": mean_logp(model, rejected)}


def sft_scores(model, learned):
    """Summed negative log-likelihood, tokens and right guesses over what the assistant says, of each row.

    learned: the Sequences of each row; a conversation may be several, one a turn.
    """
    rows = np.repeat(np.arange(len(learned)), [len(sequences) for sequences in learned])
    found = np.zeros((3, len(learned)))
    scores = token_scores(model, *tokens_and_masks([sequence for sequences in learned for sequence in sequences]))
    for total, each in zip(found, scores, strict=True):
        np.add.at(total, rows, each)
    return {name: pa.array(total) for name, total in zip(("nll", "tokens", "right"), found, strict=True)}


def tokens_and_masks(sequences):
    """(token ids, masks of what is learned) of Sequences."""
    return [sequence.ids for sequence in sequences], [
        [label != -100 for label in sequence.labels] for sequence in sequences
    ]


def mean_logp(model, answers):
    """Mean log-probability of what is learned of one answer, of each row. answers: (tokens of the prompt, of the answer, labels)."""
    ids = [prompt + answer for prompt, answer, _ in answers]
    masks = [[0] * len(prompt) + [label != -100 for label in labels] for prompt, _, labels in answers]
    nll, tokens, _ = token_scores(model, ids, masks)
    return pa.array(-nll / np.maximum(tokens, 1))
