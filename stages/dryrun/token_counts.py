"""Token counts of the rows as a step's trainer gets them: their length, how much is learned, and which rows are left out.

    measure_rows("data/train/pairs.parquet", Method("dpo", config, render)) -> MeasuredRows(rows=(n,) records of ROW_DTYPE, left_out=[...])

Rows are prepared as `train` prepares them (`stages/training/trainer_rows.py`), a batch at a time. Only numbers are kept, so a
file of millions of rows needs no memory for its tokens.
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
        ("row", "i8"),  # number in the file; a conversation may be trained as several rows, one for each turn
        ("prompt", "i4"),  # tokens before the first learned one
        ("length", "i4"),  # tokens of the row before truncation, with the longer answer if there are two
        ("tokens", "i8"),  # tokens that go through the model after truncation, of both answers
        ("learned", "i8"),  # those of them that are in the loss
        ("cut", "?"),  # longer than max_length
        ("doubled", "?"),  # begins with two BOS tokens
        ("equal", "?"),  # both answers have the same tokens after truncation
        ("longer", "i1"),  # 1 if chosen is longer than rejected, -1 if it is shorter
        ("label", "?"),
    ]
)


@dataclass(frozen=True)
class Method:
    """A training method, with everything that decides its tokens."""

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
    """rows: (n,) records of ROW_DTYPE, in file order. left_out: (row, proof, why) of each row that is not trained.

    count: rows of the file. special: rows with the text of a control token. encodings: rows whose text and tokens differ.
    answers: (row, (tokens of the thought, tokens of the rest)) of the reference answers of eval. lengths: (row, tokens of the prompt
    that is answered, tokens of the row) of eval, 0 where there is none.
    """

    count: int
    rows: np.ndarray
    left_out: list[tuple[int, str, str]] = field(default_factory=list)
    special: list[int] = field(default_factory=list)
    encodings: EncodingFaults = field(default_factory=EncodingFaults)
    answers: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    lengths: list[tuple[int, int, int]] = field(default_factory=list)

    def share(self, numbers: Iterable[int]) -> float:
        """The share of the file's rows that these numbers make up."""
        return len(set(numbers)) / max(self.count, 1)


def measure_rows(path: str | Path, method: Method) -> MeasuredRows:
    """Measure every row of a file as it is trained, or note why it is not."""
    measured = MeasuredRows(pq.read_metadata(path).num_rows, np.zeros(0, ROW_DTYPE))
    parts, number, limits = [measured.rows], 0, method.limits
    with record_encodings(method.render) as texts:
        for rows in batches(path, METHOD_COLUMNS[method.name]):
            records = []
            for row in rows:
                texts.clear()
                if method.render.has_control_tokens(row):
                    measured.special.append(number)
                try:
                    records += [
                        measure_row(number, trainer_row, method, limits)
                        for trainer_row in rows_for_trainer(method.name, row, method.render, limits)
                    ]
                    measured.encodings.check(number, method.render.tokenizer, texts)
                except FailedProof as error:
                    measured.left_out.append((number, error.proof, str(error)))
                number += 1
            parts.append(np.array(records, ROW_DTYPE) if records else np.zeros(0, ROW_DTYPE))
    measured.rows = np.concatenate(parts)
    return measured


def measure_row(number: int, trainer_row: TrainerRow, method: Method, limits: Limits) -> tuple[Any, ...]:
    """The numbers of one row as TRL is given it, a tuple of ROW_DTYPE's fields."""
    tokenizer, length = method.render.tokenizer, token_count(trainer_row)
    prompt, equal, longer = trainer_row.get("prompt_ids", []), False, 0
    start = len(prompt)
    if method.name == "sft":
        ids, labels = trainer_row["input_ids"], trainer_row["labels"]
        start = next(i for i, label in enumerate(labels) if label != -100)
        kept = [limits.cut(ids)]
        learned = sum(label != -100 for label in limits.cut(labels))
        prompt = ids
    else:
        answers = [trainer_row[f"{side}_ids"] for side in SIDES.get(method.name, ())]
        kept = [limits.cut(prompt + answer) for answer in answers] or [prompt]
        labels = [
            trainer_row.get(f"{side}_labels") or trainer_row[f"{side}_ids"] for side in SIDES.get(method.name, ())
        ]
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
        bool(trainer_row.get("label")),
    )


def has_double_bos(ids: list[int], tokenizer: Tokenizer) -> bool:
    return tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2
