"""Samples several answers of a model to each train prompt: in parts, so that no answer is sampled twice.

    for part in split_into_parts(rows): sample_part(model, part, rule, seed)    # a table: id, answers, cut, left_out

A part is a run of neighbouring ids. A new row changes its own part and no other, so the answers of all other parts stay;
a killed run loses one part. Whether an answer is right is decided elsewhere (`stages/scoring/grading.py`).
An edit of this module, or of one that it imports, samples all answers again.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from stages.rows.types import Row
from stages.scoring.generation import LoadedModel, generate_batches
from stages.training.messages import FailedProof

MAX_PART_ROWS = 128
SAMPLING_KEYS = ("samples", "temperature", "max_new_tokens", "batch_size")  # keys of the rule that decide the answers
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "answers": pa.list_(pa.string()),
        "cut": pa.list_(pa.bool_()),  # by max_new_tokens
        "left_out": pa.string(),  # why a prompt was not asked: the proof that failed, as preflight names it
    }
)


def split_into_parts(rows: list[Row], bits: int = 0) -> list[list[Row]]:
    """The rows in parts of at most MAX_PART_ROWS, by the first bits of their ids, in the order of ids."""
    if len(rows) <= MAX_PART_ROWS:
        return [sorted(rows, key=lambda row: row["id"])] if rows else []
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[int(row["id"], 16) >> (255 - bits) & 1].append(row)
    return [part for side in sides for part in split_into_parts(side, bits + 1)]


def part_seed(part: Sequence[Row], seed: int) -> int:
    """A seed for each part, from its ids."""
    text = json.dumps([seed, [row["id"] for row in part]])
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def sample_part(model: LoadedModel, part: Sequence[Row], rule: dict[str, Any], seed: int) -> pa.Table:
    """The answers to the prompts of a part, sampled from the whole distribution, as TRL's trainer samples them."""
    import torch

    asked, left_out = [], {}
    for row in part:
        try:
            model.render.prompt(row["prompt"])
            asked.append(row)
        except FailedProof as error:
            left_out[row["id"]] = f"{error.proof}: {error}"
    torch.manual_seed(part_seed(part, seed))
    decoding: dict[str, Any] = {"do_sample": True, "temperature": rule["temperature"], "top_k": 0, "top_p": 1.0}
    answers, cut = {}, {}
    samples = generate_batches(model, [row["prompt"] for row in asked], None, rule["samples"], **decoding)
    for row, texts, in_answer, in_thought in zip(asked, samples.texts, samples.cut, samples.cut_thinking, strict=True):
        # an answer that is cut in its thought is empty, and counts as cut too
        answers[row["id"]], cut[row["id"]] = texts, [a or b for a, b in zip(in_answer, in_thought, strict=True)]
    rows = [
        {"id": row["id"]}
        | {"answers": answers.get(row["id"]), "cut": cut.get(row["id"]), "left_out": left_out.get(row["id"])}
        for row in part
    ]
    return pa.Table.from_pylist(rows, SCHEMA)
