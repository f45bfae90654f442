"""What can go wrong on a device in the middle of a training: out of memory, a loss that is not finite.

steps.sft: the loss of optimizer step 12 is nan; expected a number
  hint: lower learning_rate; the batch: rows 3f2a..., 91cc... of data/train/chat.parquet
"""

import contextlib
import math
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stages.training.backends import device_name
from stages.training.types import ResolvedStep, Trainer
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from datasets import Dataset


MAX_SHOWN_ROWS = 8
# texts of errors without a class of their own: the CPU's allocator, CUDA, cuBLAS
OUT_OF_MEMORY_TEXTS = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextlib.contextmanager
def explain_out_of_memory(name: str, step: ResolvedStep, trainer: Trainer | None = None) -> Iterator[None]:
    """Raise Problems with a hint what to lower if the device runs out of memory in the block."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise Problems([memory_problem(name, step, trainer)]) from None
    except RuntimeError as error:
        if not any(words in str(error) for words in OUT_OF_MEMORY_TEXTS):
            raise
        raise Problems([memory_problem(name, step, trainer)]) from None


def memory_problem(name: str, step: ResolvedStep, trainer: Trainer | None) -> Problem:
    if trainer is None:
        found, hint = "while the model was loaded", ""
    else:
        batch, sums = trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps
        found = f"at optimizer step {trainer.state.global_step + 1}, with per_device_train_batch_size {batch}"
        half = (
            f"per_device_train_batch_size: {batch // 2} with gradient_accumulation_steps: {sums * 2} trains the same; "
        )
        lengths = "num_generations or max_completion_length" if step["method"] == "grpo" else "max_length"
        hint = (half if batch > 1 and step["method"] != "grpo" else "") + f"lower {lengths}; "
    if not step["lora"]:
        hint += "train adapters: lora: {r: 16, lora_alpha: 16}"
    elif not step.get("load_in_4bit"):
        hint += "load_in_4bit: true"
    else:
        hint += "take a smaller model, or more devices: docs/scaling.md"
    return Problem(f"steps.{name}", f"out of memory on {device_name()} {found}", "a batch that fits", hint)


def stop_on_bad_loss(trainer: Trainer, name: str, step: ResolvedStep, ids: list[str]) -> Trainer:
    """The trainer, patched to raise Problems with the rows of the batch if a loss is not finite.

    ids: of the rows in the order in which TRL got them. Transformers would replace the loss by the mean of earlier ones
    and train on; that filter, `logging_nan_inf_filter`, is off, and this check costs the same.
    """
    collate, train_step, batches = trainer.data_collator, trainer.training_step, deque()

    def collate_and_keep(features: list[dict[str, Any]]) -> Any:
        batches.append(features)
        return collate(features)

    def train_step_and_check(*arguments: Any, **options: Any) -> Any:
        loss = train_step(*arguments, **options)
        features = batches.popleft() if batches else None
        value = float(loss)
        if not math.isfinite(value):
            raise Problems(
                [loss_problem(trainer, name, step, value, batch_row_ids(features, trainer.train_dataset, ids))]
            )
        return loss

    trainer.data_collator, trainer.training_step = collate_and_keep, train_step_and_check
    return trainer


def loss_problem(trainer: Trainer, name: str, step: ResolvedStep, value: float, rows: list[str]) -> Problem:
    batch = (
        f"the batch: rows {', '.join(rows)} of data/train/{step['dataset']}.parquet"
        if rows
        else "its rows are not known"
    )
    hint = f"lower learning_rate or raise warmup_steps; {batch}"
    where = f"the loss of optimizer step {trainer.state.global_step + 1} is {value}"
    return Problem(f"steps.{name}", where, "a number", hint)


def batch_row_ids(features: list[dict[str, Any]] | None, dataset: "Dataset", ids: list[str]) -> list[str]:
    """Ids of the rows of a batch, matched by content; [] if TRL has dropped or packed rows."""
    if not features or len(dataset) != len(ids):
        return []
    wanted = [{key: feature[key] for key in feature if key in dataset.column_names} for feature in features]
    matches = [
        row_id
        for row_id, row in zip(ids, dataset, strict=True)
        if any(all(row[key] == feature[key] for key in feature) for feature in wanted)
    ]
    more = len(matches) - MAX_SHOWN_ROWS
    return matches[:MAX_SHOWN_ROWS] + ([f"and {more} more"] if more > 0 else [])
