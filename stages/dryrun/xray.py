"""A row as its trainer sees it, token by token: what is learned, what is context, what `max_length` cuts.

    xray_row("sft", row, render, config) -> [Part("conversation", [Token(id=3, text="<|user|>", kind="context", special=True), ...])]

Shows what TRL's own collator makes of the row, and the tokens that are cut. `xray_samples` picks the rows for the report: the
first one, one of median length, the longest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.dryrun.token_counts import MeasuredRows, Method
from stages.rows.batches import BATCH_ROWS, decode_row, origins
from stages.rows.types import Row
from stages.training.reasoning_masks import mask_thoughts
from stages.training.rendering import Renderer
from stages.training.trainer_rows import SIDES, Limits, limits_from_config, orpo_columns, rows_for_trainer
from stages.training.trl import METHOD_COLUMNS
from stages.training.types import Config, Tokenizer, TrainerRow

MAX_TOKENS, MAX_PARTS = 200, 4  # of a sample; of a longer sequence the beginning and the end


@dataclass(frozen=True)
class Token:
    """kind: learned, context or cut. special: a control token of the tokenizer."""

    id: int
    text: str
    kind: str
    special: bool


@dataclass(frozen=True)
class Part:
    """One sequence that goes through the model. name: conversation, prompt, or the side of a pair."""

    name: str
    tokens: list[Token]


def xray_row(
    method: str, row: Row, render: Renderer, config: Config, overlong: str = "cut", reasoning: str = "keep"
) -> list[Part]:
    """The sequences of a row as the trainer gets them. Raises FailedProof if it gets none."""
    limits = limits_from_config(method, config, overlong, reasoning)
    parts = []
    for trainer_row in rows_for_trainer(method, row, render, limits):
        for name, whole, kept, learned in collated_sequences(method, trainer_row, render.tokenizer, config, limits):
            kinds = ["learned" if mark else "context" for mark in learned]
            # the end is cut, or with keep_end the beginning
            before = whole[: len(whole) - len(kept)] if limits.keeps_end else []
            after = [] if limits.keeps_end else whole[len(kept) :]
            marked = [*((id, "cut") for id in before), *zip(kept, kinds, strict=True), *((id, "cut") for id in after)]
            parts.append(Part(name, [make_token(render, id, kind) for id, kind in marked]))
    return parts


def collated_sequences(
    method: str, trainer_row: TrainerRow, tokenizer: Tokenizer, config: Config, limits: Limits
) -> list[tuple[str, list[int], list[int], list[bool]]]:
    """(name, all tokens, the tokens in the collator's batch, whether each of these is learned) for each sequence of a row."""
    if method == "grpo":
        ids = trainer_row["prompt_ids"]
        return [("prompt", ids, ids, [False] * len(ids))]
    if method == "sft":
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        # TRL cuts before it collates; packing joins several of these
        batch = DataCollatorForLanguageModeling(tokenizer.pad_token_id)(
            [{key: limits.cut(trainer_row[key]) for key in ("input_ids", "labels")}]
        )
        return [
            (
                "conversation",
                trainer_row["input_ids"],
                batch["input_ids"][0].tolist(),
                (batch["labels"][0] != -100).tolist(),
            )
        ]
    sides = SIDES[method]
    wholes = [trainer_row["prompt_ids"] + trainer_row[f"{side}_ids"] for side in sides]
    if method == "orpo":
        from trl.experimental.utils import DPODataCollatorWithPadding

        columns = orpo_columns(trainer_row, limits.length)  # ty: ignore[invalid-argument-type]  # ORPO always has a max_length
        batch = DPODataCollatorWithPadding(pad_token_id=tokenizer.pad_token_id)([columns])
        # ORPO's NLL loss takes the chosen side with its prompt; its odds ratio compares the answers only
        learned = {"chosen": batch["chosen_attention_mask"], "rejected": batch["rejected_labels"] != -100}
        rows = [(batch[f"{side}_input_ids"], learned[side], batch[f"{side}_attention_mask"]) for side in sides]
        rows = [(ids[0], learned[0], there[0]) for ids, learned, there in rows]
    else:
        batch = mask_thoughts(make_collator(method, tokenizer, config), method, config)([trainer_row])
        rows = zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"], strict=True)
    return [
        (side, whole, ids[there.bool()].tolist(), learned[there.bool()].bool().tolist())
        for side, whole, (ids, learned, there) in zip(sides, wholes, rows, strict=True)
    ]


def make_collator(method: str, tokenizer: Tokenizer, config: Config) -> Callable[..., dict[str, Any]]:
    """TRL's collator of dpo or kto."""
    if method == "dpo":
        from trl.trainer.dpo_trainer import DataCollatorForPreference

        return DataCollatorForPreference(tokenizer.pad_token_id, config.max_length, config.truncation_mode)
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    return DataCollatorForUnpairedPreference(tokenizer.pad_token_id, config.max_length)


def make_token(render: Renderer, id: int, kind: str) -> Token:
    return Token(id, render.tokenizer.decode([id]), kind, id in render.special)


def runs_by_kind(tokens: Iterable[Token]) -> list[tuple[str, list[Token]]]:
    """[(kind, tokens)]: consecutive tokens of one kind, grouped."""
    runs = []
    for each in tokens:
        if not runs or runs[-1][0] != each.kind:
            runs.append((each.kind, []))
        runs[-1][1].append(each)
    return runs


# -- samples ------------------------------------------------------------------------------------------------------


def xray_samples(path: str | Path, measured: MeasuredRows, method: Method) -> list[dict[str, Any]]:
    """[{row, which, parts, more_parts}] of up to three rows of a step.

    row: `source:line`. which: `first`, `median length`, `longest`, or several of them. parts: see `shorten_part`.
    """
    numbers = choose_rows(measured.rows["row"], measured.rows["length"])
    rows, shown = read_rows_at(path, list(numbers), METHOD_COLUMNS[method.name]), []
    for number, place in zip(numbers, origins(path, list(numbers)), strict=True):
        parts = xray_row(method.name, rows[number], method.render, method.config, method.overlong, method.reasoning)
        kept = [shorten_part(part) for part in parts[:MAX_PARTS]]
        which = ", ".join(numbers[number])
        shown.append({"row": place, "which": which, "parts": kept, "more_parts": len(parts) - len(kept)})
    return shown


def choose_rows(rows: np.ndarray, lengths: np.ndarray) -> dict[int, list[str]]:
    """{row: [why it is shown]}. rows, lengths: (n,), of all sequences in file order, n > 0."""
    order = np.argsort(lengths, kind="stable")
    chosen = {}
    for name, at in (("first", 0), ("median length", order[len(order) // 2]), ("longest", np.argmax(lengths))):
        chosen.setdefault(int(rows[at]), []).append(name)
    return chosen


def read_rows_at(path: str | Path, numbers: Sequence[int], columns: list[str]) -> dict[int, Row]:
    """{number: row} for some rows of a file, read a batch at a time."""
    rows, first = {}, 0
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
        for number in numbers:
            if first <= number < first + len(batch):
                rows[number] = decode_row(batch.slice(number - first, 1).to_pylist()[0])
        first += len(batch)
    return rows


def shorten_part(part: Part) -> dict[str, Any]:
    """A Part as plain data, with its number of tokens of each kind, without the middle of a long one.

    left_out: how many tokens are not shown; they come after the first half of those that are.
    """
    tokens, half = part.tokens, MAX_TOKENS // 2
    shown = tokens if len(tokens) <= MAX_TOKENS else [*tokens[:half], *tokens[-half:]]
    return {
        "name": part.name,
        "counts": dict(Counter(token.kind for token in tokens)),
        "tokens": [asdict(token) for token in shown],
        "left_out": len(tokens) - len(shown),
    }
