"""What a model says to train prompts where it draws its answers, several to each: in parts, so that none is drawn twice.

    for part in parts_of(rows): draw(model, part, rule, seed)    # a table: id, answers, cut, left_out

A part is a run of neighbouring ids. A new row changes the part that it falls into and no other, so that the answers to all
others stay as they were; a killed run loses one part. Whether an answer is right is no part of it (`stages/scoring/grading.py`).
An edit of this module, or of one that it imports, draws all answers again.
"""

import hashlib
import json

import pyarrow as pa

from stages.scoring.generation import generate_batches
from stages.training.messages import FailedProof

MAX_PART_ROWS = 128  # rows of a part
SAMPLING_KEYS = ("samples", "temperature", "max_new_tokens", "batch_size")  # keys of the rule that decide what is drawn
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "answers": pa.list_(pa.string()),
        "cut": pa.list_(pa.bool_()),  # by max_new_tokens
        "left_out": pa.string(),  # why a prompt was not asked: its proof, as preflight names it
    }
)


def split_into_parts(rows: list[dict], bits: int = 0) -> list[list[dict]]:
    """The rows in parts of at most MOST, by the first bits of their ids, in the order of ids."""
    if len(rows) <= MAX_PART_ROWS:
        return [sorted(rows, key=lambda row: row["id"])] if rows else []
    sides: tuple[list[dict], list[dict]] = ([], [])
    for row in rows:
        sides[int(row["id"], 16) >> (255 - bits) & 1].append(row)
    return [part for side in sides for part in split_into_parts(side, bits + 1)]


def part_seed(part: list[dict], seed: int) -> int:
    """Another seed for each part, by its ids."""
    text = json.dumps([seed, [row["id"] for row in part]])
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


def sample_part(model, part: list[dict], rule: dict, seed: int) -> pa.Table:
    """The answers to the prompts of a part, drawn from the whole distribution, as TRL's trainer draws them."""
    import torch

    asked, left_out = [], {}
    for row in part:
        try:
            model.render.prompt(row["prompt"])
            asked.append(row)
        except FailedProof as error:
            left_out[row["id"]] = f"{error.proof}: {error}"
    torch.manual_seed(part_seed(part, seed))
    how = {"do_sample": True, "temperature": rule["temperature"], "top_k": 0, "top_p": 1.0}
    said, cut = {}, {}
    drawn = generate_batches(model, [row["prompt"] for row in asked], None, rule["samples"], **how)
    for row, texts, ended, thinking in zip(asked, drawn.texts, drawn.cut, drawn.cut_thinking, strict=True):
        # what is cut while it thinks has said nothing, and is cut as well
        said[row["id"]], cut[row["id"]] = texts, [a or b for a, b in zip(ended, thinking, strict=True)]
    rows = [
        {"id": row["id"]}
        | {"answers": said.get(row["id"]), "cut": cut.get(row["id"]), "left_out": left_out.get(row["id"])}
        for row in part
    ]
    return pa.Table.from_pylist(rows, SCHEMA)
