"""How many batches and optimizer steps a training takes, on the number of processes that `launch` starts."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.training.types import Config, ResolvedStep

PACKING_ROWS = 1000  # TRL packs rows in groups of this size: `datasets` maps that many at a time


def count_processes(launch: str) -> int:
    """How many processes `launch` starts, on all machines together; 1 if it does not say."""
    words = [part for word in launch.split() for part in (word.split("=", 1) if word.startswith("--") else [word])]
    options = dict(itertools.pairwise(words))
    if "--num_processes" in options:
        return parse_count(options["--num_processes"])
    if "--config_file" in options:
        return parse_count(read_config_file(options["--config_file"]).get("num_processes"))
    nodes = (options.get("--nnodes") or "1").split(":")[-1]
    return parse_count(options.get("--nproc_per_node") or options.get("--nproc-per-node")) * parse_count(nodes)


def parse_count(text: Any) -> int:
    """A count of processes; 1 for a value that only the machine can resolve (`gpu`, `auto`, none)."""
    return int(text) if str(text).isdigit() and int(text) else 1


def read_config_file(path: str | Path) -> dict[str, Any]:
    """accelerate's config; {} if it cannot be read, which accelerate itself will report."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        config = YAML(typ="safe", pure=True).load(Path(path))
    except (OSError, YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


@contextlib.contextmanager
def assume_processes(count: int) -> Iterator[None]:
    """Make TRL's configs in the block as if on one of `count` processes: GRPO's divides its batches among them when it is made."""
    from transformers import TrainingArguments

    before = TrainingArguments.world_size
    try:
        if count > 1:
            TrainingArguments.world_size = count  # ty: ignore[invalid-assignment]  # in place of the property
        yield
    finally:
        TrainingArguments.world_size = before


def batches_per_epoch(config: Config, method: str, rows: int, count: int = 1) -> int:
    """Batches that each process takes in an epoch; GRPO leaves out prompts that do not fill a batch."""
    batch = config.per_device_train_batch_size * count
    if method == "grpo":
        prompts = config.generation_batch_size // config.num_generations
        return rows // prompts * config.steps_per_generation * config.num_iterations
    return rows // batch if config.dataloader_drop_last else math.ceil(rows / batch)


def count_optimizer_steps(config: Config, method: str, rows: int, count: int = 1) -> int:
    """Optimizer steps as transformers' Trainer counts them."""
    batches = batches_per_epoch(config, method, rows, count)
    if not batches:
        return 0
    if config.max_steps >= 0:
        return config.max_steps
    return math.ceil(math.ceil(batches / config.gradient_accumulation_steps) * config.num_train_epochs)


def epochs_reached(config: Config, method: str, sequences: int, steps: int, count: int = 1) -> float:
    """How often `steps` optimizer steps go through the sequences: 0.25 is a quarter of them, once."""
    taken = steps * config.per_device_train_batch_size * config.gradient_accumulation_steps * count
    if method == "grpo":
        taken = taken / config.num_generations / config.num_iterations
    return taken / sequences


def rows_reached(step: ResolvedStep, config: Config) -> int:
    """How many of the trained rows the optimizer steps of a step reach at least once. step: with the counts of preflight."""
    sequences = step.get("packed_rows", step["sequences"])
    epochs = epochs_reached(config, step["method"], sequences, step["optimizer_steps"], step["processes"])
    return min(step["trained_rows"], round(epochs * step["trained_rows"]))


def count_packed_sequences(lengths: np.ndarray, config: Config) -> int:
    """How many sequences TRL packs rows of these lengths into, by TRL's own packing."""
    from datasets import Dataset
    from trl import pack_dataset

    if config.shuffle_dataset:
        lengths = np.array(Dataset.from_dict({"length": lengths}).shuffle(seed=config.seed)["length"])
    count = 0
    for shard in np.array_split(lengths, config.dataset_num_proc or 1):
        for first in range(0, len(shard), PACKING_ROWS):
            part = [[0] * int(length) for length in shard[first : first + PACKING_ROWS]]
            count += len(
                pack_dataset(Dataset.from_dict({"input_ids": part}), config.max_length, config.packing_strategy)
            )
    return count
