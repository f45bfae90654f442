"""What a step's trainer is given of each row: how long it is, how much of it is learned, and which rows are left out.

    measured("data/train/pairs.parquet", Method("dpo", config, render)) -> Measured(rows=(n,) records of ROW, left_out=[...])

Rows are prepared as `train` prepares them (`stages/training/trainer_rows.py`), a batch at a time; of each only numbers are
kept, so that a file of millions of rows needs no memory for its tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.dryrun.encodings import EncodingFaults, record_encodings
from stages.rows.batches import batches
from stages.training.messages import FailedProof
from stages.training.rendering import Renderer
from stages.training.trainer_rows import SIDES, Limits, limits_from_config, rows_for_trainer, token_count
from stages.training.trl import METHOD_COLUMNS
from stages.training.types import Config, Tokenizer, TrainerRow

ROW_DTYPE = np.dtype(
    [
        ("row", "i8"),  # its number in the file: a conversation may be trained as several rows, one a turn
        ("prompt", "i4"),  # tokens before the first one that is learned
        ("length", "i4"),  # tokens of the row, of the longer answer where there are two, before truncation
        ("tokens", "i8"),  # tokens that go through the model, of both answers, after truncation
        ("learned", "i8"),  # of these the ones that the loss is taken over
        ("cut", "?"),  # longer than max_length
        ("doubled", "?"),  # two tokens of beginning
        ("equal", "?"),  # both answers are the same tokens after truncation
        ("longer", "i1"),  # 1 where chosen is longer than rejected, -1 where it is shorter
        ("label", "?"),
    ]
)


@dataclass(frozen=True)
class Method:
    """A method with all that decides its tokens."""

    name: str
    config: Config
    render: Renderer
    overlong: str = "cut"
    reasoning: str = "keep"

    @property
    def limits(self) -> Limits:
        return limits_from_config(self.name, self.config, self.overlong, self.reasoning)


@dataclass
class MeasuredRows:
    """rows: (n,) records of ROW, in the order of the file. left_out: (row, proof, why) of each that is not trained.

    special: the rows that say a control token of the tokenizer, which then is one. encodings: those of which a text and its
    tokens differ. answers: (row, tokens of its last answer) of sft rows of eval.
    """

    count: int
    rows: np.ndarray
    left_out: list[tuple[int, str, str]] = field(default_factory=list)
    special: list[int] = field(default_factory=list)
    encodings: EncodingFaults = field(default_factory=EncodingFaults)
    answers: list[tuple[int, tuple[int, int]]] = field(default_factory=list)

    def share(self, numbers: Iterable[int]) -> float:
        """The share of the rows of the file that these are."""
        return len(set(numbers)) / max(self.count, 1)


def measure_rows(path: str | Path, method: Method) -> MeasuredRows:
    """Every row of a file, as it is trained or with the reason for which it is not."""
    found = MeasuredRows(pq.read_metadata(path).num_rows, np.zeros(0, ROW_DTYPE))
    parts, number, limits = [found.rows], 0, method.limits
    with record_encodings(method.render) as texts:
        for rows in batches(path, METHOD_COLUMNS[method.name]):
            records = []
            for row in rows:
                texts.clear()
                if method.render.has_control_tokens(row):
                    found.special.append(number)
                try:
                    records += [
                        measure_row(number, prepared, method, limits)
                        for prepared in rows_for_trainer(method.name, row, method.render, limits)
                    ]
                    found.encodings.look(number, method.render.tokenizer, texts)
                except FailedProof as error:
                    found.left_out.append((number, error.proof, str(error)))
                number += 1
            parts.append(np.array(records, ROW_DTYPE) if records else np.zeros(0, ROW_DTYPE))
    found.rows = np.concatenate(parts)
    return found


def measure_row(number: int, prepared: TrainerRow, method: Method, limits: Limits) -> tuple[Any, ...]:
    """The numbers of one row as TRL is given it, as a tuple of ROW's fields."""
    tokenizer, length = method.render.tokenizer, token_count(prepared)
    prompt, equal, longer = prepared.get("prompt_ids", []), False, 0
    start = len(prompt)
    if method.name == "sft":
        ids, labels = prepared["input_ids"], prepared["labels"]
        start = next(i for i, label in enumerate(labels) if label != -100)
        kept = [limits.cut(ids)]
        learned = sum(label != -100 for label in limits.cut(labels))
        prompt = ids
    else:
        answers = [prepared[f"{side}_ids"] for side in SIDES.get(method.name, ())]
        kept = [limits.cut(prompt + answer) for answer in answers] or [prompt]
        labels = [prepared.get(f"{side}_labels") or prepared[f"{side}_ids"] for side in SIDES.get(method.name, ())]
        learned = sum(label != -100 for side in labels for label in limits.cut([-100] * len(prompt) + side))
        if len(answers) == 2:
            equal, longer = kept[0] == kept[1], np.sign(len(answers[0]) - len(answers[1]))
    cut = method.name != "grpo" and len(limits.cut([0] * length)) < length
    tokens = sum(map(len, kept))
    return (
        number,
        start,
        length,
        tokens,
        learned,
        cut,
        has_double_bos(prompt, tokenizer),
        equal,
        longer,
        bool(prepared.get("label")),
    )


def has_double_bos(ids: list[int], tokenizer: Tokenizer) -> bool:
    return tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2
