"""The exposure of a training: how often each row of data/train was in a trained batch, and how many tokens were trained.

    trainer = count_rows(trainer, "sft", numbers, given)  # numbers: the row of data/train behind each sequence that TRL is given
    write_exposure(exposure_path("sft"), trainer, step, hash)  # scores/sft.seen.parquet: `times`, (rows of data/train,) integers

Counts what training steps receive, not what a sampler announces: each row carries its position through TRL's collator. If a
row became several sequences (a conversation in parts, or cut by packing), the most frequent one counts. A GRPO prompt counts
once each time that answers to it are generated, however many answers and passes over them there are.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.training.types import Config, ResolvedStep, Trainer

if TYPE_CHECKING:
    from datasets import Dataset


PLACE_COLUMN = "tilth_place"  # the column with an item's position in the trainer's dataset


@dataclass
class Exposure:
    """What one process has trained. counts: (items,) how often each item of the trainer's dataset was in a batch.

    items, rows: (pairs,) positions in the trainer's dataset, and numbers of the rows of data/train in these items.
    """

    items: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    tokens: int = 0
    places: list[int] = field(default_factory=list)  # of the current batch; GRPO only


# -- counting -----------------------------------------------------------------------------------------------------


def count_rows(trainer: Trainer, method: str, numbers: Sequence[int], given: "Dataset") -> Trainer:
    """The trainer, patched to count in `trainer.exposure` what its steps receive.

    given: the dataset that TRL was given. numbers: the row of data/train from which each of its items was made.
    """
    counts = np.zeros(len(trainer.train_dataset), np.int64)
    exposure = trainer.exposure = Exposure(*rows_of_items(trainer.args, method, numbers, given), counts)
    trainer.train_dataset = add_places(trainer.train_dataset)
    trainer._set_signature_columns_if_needed()
    trainer._signature_columns.append(PLACE_COLUMN)  # else transformers drops the column
    collate, train_step, steps = trainer.data_collator, trainer.training_step, 0
    every = training_steps_per_generation(trainer.args)

    def collate_with_places(features: list[dict[str, Any]]) -> Any:
        places = [feature[PLACE_COLUMN] for feature in features]
        batch = collate([{key: value for key, value in feature.items() if key != PLACE_COLUMN} for feature in features])
        if isinstance(batch, list):  # GRPO's collator returns rows unchanged
            return [row | {PLACE_COLUMN: place} for row, place in zip(batch, places, strict=True)]
        batch[PLACE_COLUMN] = (places, batch_tokens(batch))
        return batch

    def count_and_train(model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal steps
        if isinstance(inputs, list):
            places, tokens = [row.pop(PLACE_COLUMN) for row in inputs], 0
            exposure.places = places
        else:
            places, tokens = inputs.pop(PLACE_COLUMN)
        loss = train_step(model, inputs, *arguments, **options)
        if steps % every == 0:  # in between, GRPO trains on answers that it already has
            np.add.at(exposure.counts, places, 1)
        exposure.tokens += tokens
        steps += 1
        return loss

    trainer.data_collator, trainer.training_step = collate_with_places, count_and_train
    return trainer


def training_steps_per_generation(config: Config) -> int:
    """Training steps after which GRPO takes new prompts; 1 for other methods, which take new rows at every step."""
    return config.steps_per_generation * config.num_iterations if hasattr(config, "steps_per_generation") else 1


def add_places(dataset: "Dataset") -> "Dataset":
    """The dataset with a column of positions, in the same format as before."""
    plain = dataset.with_format(None).add_column(PLACE_COLUMN, np.arange(len(dataset)))
    return plain.with_format(dataset.format["type"], **dataset.format["format_kwargs"])


def rows_of_items(
    config: Config, method: str, numbers: Sequence[int], given: "Dataset"
) -> tuple[np.ndarray, np.ndarray]:
    """(items, rows) as in `Exposure`: which rows are in which item, after TRL has shuffled and packed what it was given."""
    row_numbers = np.asarray(numbers, np.int64)
    if method != "sft" or not (config.packing or config.shuffle_dataset):
        return np.arange(len(row_numbers)), row_numbers
    from datasets import Dataset
    from trl import pack_dataset

    lengths = map(len, given["input_ids"]) if config.packing else [1] * len(row_numbers)
    owners = [[number] * length for number, length in zip(row_numbers, lengths, strict=True)]
    owners = Dataset.from_dict({"input_ids": owners})
    if config.packing:
        # TRL packs by length alone, so rows whose tokens are replaced by the row's number are packed the same way
        owners = owners.shuffle(seed=config.seed) if config.shuffle_dataset else owners
        owners = pack_dataset(owners, config.max_length, config.packing_strategy, {"num_proc": config.dataset_num_proc})
    owners = owners.shuffle(seed=config.seed) if config.shuffle_dataset else owners
    members = [np.unique(ids) for ids in owners["input_ids"]]
    return np.repeat(np.arange(len(members)), [len(rows) for rows in members]), np.concatenate(members)


def batch_tokens(batch: dict[str, Any]) -> int:
    """Tokens of a collated batch without padding, of both answers of a pair."""
    masks = [
        batch[key] for key in ("attention_mask", "chosen_attention_mask", "rejected_attention_mask") if key in batch
    ]
    return int(sum(mask.sum() for mask in masks)) if masks else batch["input_ids"].numel()


# -- saving -------------------------------------------------------------------------------------------------------


def gather_totals(trainer: Trainer) -> tuple[np.ndarray, int]:
    """(counts, tokens) over all processes. Every process must call this."""
    parts = [(trainer.exposure.counts, trainer.exposure.tokens)]
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from accelerate.utils import gather_object

        parts = gather_object(parts)
    return sum(counts for counts, _ in parts), sum(tokens for _, tokens in parts)


def save_exposure(trainer: Trainer, checkpoint: Path) -> None:
    """Write the exposure so far into a checkpoint."""
    counts, tokens = gather_totals(trainer)
    if trainer.is_world_process_zero():
        np.save(checkpoint / "seen.npy", np.append(counts, tokens))


def restore_exposure(trainer: Trainer, checkpoint: Path) -> None:
    """Continue counting from a checkpoint; the first process holds the counts of all."""
    if trainer.is_world_process_zero():
        *counts, trainer.exposure.tokens = np.load(checkpoint / "seen.npy").tolist()
        trainer.exposure.counts[:] = counts


def write_exposure(path: Path, trainer: Trainer, step: ResolvedStep, rows_sha256: str) -> None:
    """Write how often each row of data/train was in a batch. Every process must call this; the first one writes."""
    counts, tokens = gather_totals(trainer)
    if not trainer.is_world_process_zero():
        return
    if step["method"] == "grpo":
        counts = counts // trainer.args.num_generations  # a prompt is in the batch once for each answer
        tokens = int(trainer.state.num_input_tokens_seen)  # TRL's count of prompts and answers
    times = np.zeros(pq.read_metadata(f"data/train/{step['dataset']}.parquet").num_rows, np.int32)
    np.maximum.at(times, trainer.exposure.rows, counts[trainer.exposure.items])
    facts = {"step": step["step"], "dataset": step["dataset"], "rows_sha256": rows_sha256, "tokens": tokens}
    facts |= {"sequences": int(counts.sum())}
    write_table(path, pa.table({"times": times}), facts)


def write_table(path: Path, table: pa.Table, facts: dict[str, Any]) -> None:
    """Write a Parquet table with the facts in its metadata."""
    table = table.replace_schema_metadata({"tilth": json.dumps(facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into DVC's cache
    pq.write_table(table, path, compression="zstd")


# -- reading ------------------------------------------------------------------------------------------------------


def exposure_path(step: str) -> Path:
    return Path("scores", f"{step}.seen.parquet")


def read_exposure(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """(times, facts): how often the model saw each row, (rows of data/train,), and {dataset, rows_sha256, tokens, sequences}."""
    table, facts = read_table(path)
    return np.array(table["times"].to_pylist(), np.int64), facts


def read_table(path: str | Path) -> tuple[pa.Table, dict[str, Any]]:
    """(table, facts) of what `write_table` wrote."""
    with pq.ParquetFile(path) as file:  # pq.read_table imports pandas, which takes half a second
        return file.read(), json.loads(file.schema_arrow.metadata[b"tilth"])


def exposure_summary(path: str | Path) -> dict[str, int] | None:
    """{rows, seen, times, tokens, sequences} of a training; None if the file does not exist.

    rows: of data/train. seen: rows that the model saw at least once. times: rows that it saw, with repetitions.
    """
    if not Path(path).exists():
        return None
    table, facts = read_table(path)
    times = table["times"]
    often = [(item["values"], item["counts"]) for item in times.value_counts().to_pylist()]
    summary = {
        "rows": len(times),
        "seen": sum(rows for count, rows in often if count),
        "times": sum(count * rows for count, rows in often),
    }
    return summary | {key: facts[key] for key in ("tokens", "sequences")}
