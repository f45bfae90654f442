"""What is measured of a model on eval rows: the answers that it generates, and how likely it finds the answers of the rows.

    measure_part("answers", model, "sft", rows, learned, options, 7) -> {"cut": [...], "cut_thinking": [...], "generation": [...]}

A dataset is measured in parts, each by itself. A part whose settings are unchanged is not measured again
(`stages/scoring/measurement_cache.py`). Scores are not part of it: they are computed anew each time, without a model.
An edit of this module, or of one that it imports, measures every model again: keep code that only scores out of it.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages.rows.types import Row
from stages.scoring.generation import LoadedModel, generate, sample, token_scores
from stages.training.messages import FailedProof
from stages.training.trainer_rows import scoring_input

if TYPE_CHECKING:
    from stages.training.rendering import Renderer, TokenSequence

# keys of `evaluate` in params.yaml on which a part depends; samples depend on the seed too
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
PROMPTS: dict[str, Callable[[Row], list[Row]]] = {"sft": lambda row: row["messages"][:-1]}  # the others have a prompt
AnswerTokens = tuple[list[int], list[int], list[int]]  # tokens of the prompt, of the answer, labels of the answer


@dataclass
class EvalRows:
    """Eval rows of one dataset. reasoning: `mask` where thoughts are not learned. has_metrics: whether a metric reads answers."""

    kind: str
    rows: list[Row]
    reasoning: str = "keep"
    has_metrics: bool = False


def parts_to_measure(asked: EvalRows, options: dict[str, Any]) -> list[str]:
    """The parts of a dataset, in the order of measuring. options: `evaluate` of params.yaml."""
    likelihood = ["likelihood"] if asked.kind != "grpo" else []
    answers = ["answers"] if asked.kind in ("sft", "grpo") or (asked.kind == "preference" and asked.has_metrics) else []
    return likelihood + answers + (["samples"] if asked.kind == "grpo" and options["pass_at_k"] else [])


def scorable_rows(render: "Renderer", asked: EvalRows) -> tuple[list[Row], list[Any]]:
    """(the rows that the chat template can render, what is learned of each). preflight has named the others.

    What is learned: of sft the TokenSequences of a row; of preference and kto the AnswerTokens of each side.
    """
    scorable, learned = [], []
    for row in asked.rows:
        with contextlib.suppress(FailedProof):
            learned.append(scoring_input(asked.kind, row, render, asked.reasoning))
            scorable.append(row)
    return scorable, learned


def measure_part(
    part: str, model: LoadedModel, kind: str, rows: list[Row], learned: list[Any], options: dict[str, Any], seed: int
) -> dict[str, pa.Array]:
    """Arrow columns of one part, each (rows,). rows, learned: see `scorable_rows`."""
    if part == "likelihood":
        return measure_likelihood(model, kind, learned)
    prompts = [PROMPTS.get(kind, lambda row: row["prompt"])(row) for row in rows]
    if part == "samples":
        samples = sample(model, prompts, options["samples"], options["temperature"], seed)
        cut = [sum(flags) for flags in samples.cut_thinking]
        return {
            "samples": pa.array(samples.texts, pa.list_(pa.string())),
            "samples_cut_thinking": pa.array(cut, pa.int64()),
        }
    tools = None if kind == "grpo" else [row.get("tools") for row in rows]
    answers = generate(model, prompts, tools)
    cuts = {"cut": pa.array(answers.cut, pa.bool_()), "cut_thinking": pa.array(answers.cut_thinking, pa.bool_())}
    return cuts | {"generation": pa.array(answers.texts, pa.string())}


def measure_likelihood(model: LoadedModel, kind: str, learned: list[Any]) -> dict[str, pa.Array]:
    """Arrow columns with the log-probability of what is learned, each (rows,)."""
    if kind == "sft":
        return sft_scores(model, learned)
    if kind == "kto":
        return {"logp": mean_logp(model, [answer for (answer,) in learned])}
    chosen, rejected = zip(*learned, strict=True)
    return {"chosen_logp": mean_logp(model, chosen), "rejected_logp": mean_logp(model, rejected)}


def sft_scores(model: LoadedModel, learned: list[list["TokenSequence"]]) -> dict[str, pa.Array]:
    """Summed negative log-likelihood, tokens and right guesses over the assistant's tokens, of each row.

    learned: the TokenSequences of each row; a conversation may be several, one a turn.
    """
    rows = np.repeat(np.arange(len(learned)), [len(sequences) for sequences in learned])
    totals = np.zeros((3, len(learned)))
    scores = token_scores(model, *tokens_and_masks([sequence for sequences in learned for sequence in sequences]))
    for total, each in zip(totals, scores, strict=True):
        np.add.at(total, rows, each)
    return {name: pa.array(total) for name, total in zip(("nll", "tokens", "right"), totals, strict=True)}


def tokens_and_masks(sequences: list["TokenSequence"]) -> tuple[list[list[int]], list[list[bool]]]:
    """(token ids, masks of what is learned) of TokenSequences."""
    return [sequence.ids for sequence in sequences], [
        [label != -100 for label in sequence.labels] for sequence in sequences
    ]


def mean_logp(model: LoadedModel, answers: Sequence[AnswerTokens]) -> pa.Array:
    """Mean log-probability of what is learned of one answer, of each row."""
    ids = [prompt + answer for prompt, answer, _ in answers]
    masks = [[False] * len(prompt) + [label != -100 for label in labels] for prompt, _, labels in answers]
    nll, tokens, _ = token_scores(model, ids, masks)
    return pa.array(-nll / np.maximum(tokens, 1))
