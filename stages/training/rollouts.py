"""Rollouts: a bounded part of the answers that GRPO generated in training, with the reward of each function.

    keep_rollouts(trainer, step, ids)                  # before training; ids: of data/train, one for each item of the trainer's dataset
    write_rollouts(rollouts_path("align"), trainer, step, hash)

    {"step": 40, "group": 17, "id": "9c...", "completion": "cba", "tokens": 4, "cut": False, "cut_thinking": False,
     "ground_truth": "cba", "reward/exact_match": 1.0, "reward": 1.0, "advantage": 0.71}

cut: max_completion_length cut the answer. cut_thinking: it cut a thought, so there is no answer.

scores/<step>.rollouts.parquet has the first generation at or after each `every` optimizer steps, fewer if these would exceed
`max_rows`. The choice depends on the step alone, so a resumed run keeps the same ones. A group is the answers to one prompt,
in adjacent rows. The file of a step without rollouts has no rows.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.rows.types import Row
from stages.training.exposure import read_table, write_table
from stages.training.types import ResolvedStep, Trainer

CHECKPOINT_FILE = "rollouts.parquet"  # in a checkpoint
ROLLOUT_FIELDS = [
    ("step", pa.int32()),
    ("group", pa.int32()),
    ("id", pa.string()),
    ("completion", pa.string()),
    ("tokens", pa.int32()),
]
ROLLOUT_FIELDS += [("cut", pa.bool_()), ("cut_thinking", pa.bool_()), ("ground_truth", pa.string())]


@dataclass
class Rollouts:
    """What the first process keeps; the others keep nothing. every: optimizer steps between two kept generations."""

    schema: pa.Schema
    every: int
    max_rows: int
    rows: list[Row] = field(default_factory=list)


def rollout_schema(functions: Iterable[str]) -> pa.Schema:
    columns = [*(f"reward/{name}" for name in functions), "reward", "advantage"]
    return pa.schema([*ROLLOUT_FIELDS, *((name, pa.float64()) for name in columns)])


def rollout_interval(wanted: int, max_steps: int, together: int, max_rows: int) -> int:
    """Optimizer steps between two kept generations, so that all of them have at most `max_rows` rows, or are one generation.

    together: answers that are generated within one optimizer step.
    """
    return max(wanted, math.ceil(max_steps / max(1, max_rows // together)))


def keep_rollouts(trainer: Trainer, step: ResolvedStep, ids: list[str]) -> Trainer:
    """The trainer, patched to keep a part of what it generates in `trainer.rollouts`; unchanged if the step keeps none."""
    if not (settings := step.get("rollouts")):
        return trainer
    if absent := [
        name for name in ("_calculate_rewards", "_generate_and_score_completions") if not hasattr(trainer, name)
    ]:
        print(f"train {step['step']}: cannot keep rollouts: {type(trainer).__name__} has no {' and no '.join(absent)}")
        return trainer
    args, each = trainer.args, trainer.args.num_generations
    period = max(1, args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps)
    together = args.generation_batch_size * max(
        1, args.gradient_accumulation_steps // (args.steps_per_generation * args.num_iterations)
    )
    every = max(period, rollout_interval(settings["every"], step["optimizer_steps"], together, settings["max_rows"]))
    kept = trainer.rollouts = Rollouts(rollout_schema(step["rewards"]), every, settings["max_rows"])
    calculate, generate = trainer._calculate_rewards, trainer._generate_and_score_completions
    weights = step["args"].get("reward_weights") or [1.0] * len(step["rewards"])
    latest = {}

    def calculate_and_store(inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        rewards = calculate(inputs, prompts, completions, completion_ids_list)
        first = trainer.accelerator.process_index * len(prompts)  # rewards of all processes
        latest.update(
            texts=[completion_text(reward_completion(each, list(ids), trainer.thoughts)) for each, ids in zip(completions, completion_ids_list, strict=True)],
            tokens=list(map(len, completion_ids_list)), cuts=[cut_flags(list(ids), trainer.thoughts) for ids in completion_ids_list],
            rewards=rewards[first : first + len(prompts)].tolist(),
        )  # fmt: skip
        return rewards

    def generate_and_keep(inputs: Any) -> Any:
        output, at = generate(inputs), trainer.state.global_step
        if trainer.model.training and at % every < period:
            rows = [
                {
                    "step": at, "id": ids[place], "completion": completion, "tokens": count, **cut, "ground_truth": row["ground_truth"],
                    **{f"reward/{name}": nan_to_none(value) for name, value in zip(step["rewards"], paid, strict=True)},
                    "reward": sum(weight * value for weight, value in zip(weights, paid, strict=True) if value == value),
                    "advantage": float(advantage),
                }
                for row, place, completion, count, cut, paid, advantage in zip(
                    inputs, trainer.exposure.places, latest["texts"], latest["tokens"], latest["cuts"], latest["rewards"],
                    output["advantages"].tolist(), strict=True,
                )
            ]  # fmt: skip
            rows = gather_rows(rows)
            if trainer.is_world_process_zero():
                start, room = len(kept.rows), (kept.max_rows - len(kept.rows)) // each * each
                kept.rows += [row | {"group": (start + i) // each} for i, row in enumerate(rows[: max(room, 0)])]
        latest.clear()
        return output

    trainer._calculate_rewards, trainer._generate_and_score_completions = calculate_and_store, generate_and_keep
    return trainer


def completion_text(completion: str | list[dict[str, Any]]) -> str:
    """The input of a reward function as a text: the answer, or all messages as JSON if tools were called in between."""
    if isinstance(completion, str):
        return completion
    return completion[0]["content"] or "" if len(completion) == 1 else json.dumps(completion, ensure_ascii=False)


def reward_completion(completion: Any, ids: list[int], thoughts: Any) -> Any:
    """A completion as `match_evaluated_text` gives it to reward functions. thoughts: a ThoughtParser."""
    return completion if isinstance(completion, str) else thoughts.completion(completion, ids)


def cut_flags(ids: list[int], thoughts: Any) -> dict[str, bool]:
    """{"cut", "cut_thinking"} of generated tokens; both False if they end in a stop token. thoughts: a ThoughtParser."""
    cut = thoughts.render.stops.isdisjoint(ids[-1:])
    thinking = cut and thoughts.thinks_still(ids)
    return {"cut": cut and not thinking, "cut_thinking": thinking}


def nan_to_none(value: float) -> float | None:
    return None if value != value else value


def gather_rows(rows: list[Row]) -> list[Row]:
    """The rows of all processes, in their order. Every process must call this."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return rows
    from accelerate.utils import gather_object

    return gather_object(rows)


# -- saving -----------------------------------------------------------------------------------------------------------


def save_rollouts(trainer: Trainer, checkpoint: Path) -> None:
    """Write the rollouts so far into a checkpoint."""
    if hasattr(trainer, "rollouts") and trainer.is_world_process_zero():
        pq.write_table(
            pa.Table.from_pylist(trainer.rollouts.rows, trainer.rollouts.schema),
            checkpoint / CHECKPOINT_FILE,
            compression="zstd",
        )


def restore_rollouts(trainer: Trainer, checkpoint: Path) -> None:
    """Continue after the rollouts of a checkpoint."""
    if hasattr(trainer, "rollouts") and trainer.is_world_process_zero():
        trainer.rollouts.rows[:] = pq.read_table(checkpoint / CHECKPOINT_FILE).to_pylist()


def write_rollouts(path: Path, trainer: Trainer, step: ResolvedStep, rows_sha256: str) -> None:
    """Write the rollouts. Every process must call this; the first one writes."""
    if not trainer.is_world_process_zero():
        return
    kept = getattr(trainer, "rollouts", None) or Rollouts(rollout_schema(step.get("rewards") or []), 0, 0)
    facts = {
        "step": step["step"],
        "dataset": step["dataset"],
        "rows_sha256": rows_sha256,
        "every": kept.every,
        "functions": step.get("rewards") or [],
    }
    write_table(path, pa.Table.from_pylist(kept.rows, kept.schema), facts)


# -- reading -----------------------------------------------------------------------------------------------------------


def rollouts_path(step: str) -> Path:
    return Path("scores", f"{step}.rollouts.parquet")


def read_rollouts(path: str | Path) -> tuple[list[Row], dict[str, Any]]:
    """(rows, facts): one dict for each answer, in training order, and {step, dataset, rows_sha256, every, functions}."""
    table, facts = read_table(path)
    return table.to_pylist(), facts
