"""Estimate how long a training takes on this machine, before a weight is loaded: its matrix products, at the rate of one that is timed.

    least_seconds(step, shape, config, reached, "cpu") -> 2100.0

All else that a training does (norms, softmax, the optimizer, reading rows) comes on top, so it takes longer. docs/preflight.md
says how much longer it was where it was measured.
"""

import math
import time

from stages.dryrun.memory import Shape
from stages.training.trl import CHECKPOINTING_ARGS
from stages.training.types import Config, ResolvedStep

TIMED_S, FEWEST_TRIES = 0.2, 5  # of one rate
MOST_SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices that are timed


def least_seconds(step: ResolvedStep, shape: Shape, config: Config, reached: float, device: str) -> float:
    """Seconds of a training's matrix products. grpo: as if each answer had `max_completion_length` tokens.

    reached: epochs. device: `cuda` or `cpu`.
    """
    batch, decoding = config.per_device_train_batch_size, 0.0
    tokens = step["tokens"] * reached
    length = step["tokens"] / max(step["sequences"], 1)
    half = device == "cuda"
    if step["method"] == "grpo":
        answers = config.max_completion_length * step["optimizer_steps"] * config.gradient_accumulation_steps * batch
        answers *= step["processes"]
        length += config.max_completion_length
        tokens = answers * length / config.max_completion_length
        sampled = batch * config.steps_per_generation
        decoding = (
            answers / config.num_iterations * flops_per_token(shape, length) / matmul_rate(shape, sampled, device, half)
        )
    rows = math.ceil(batch * length)
    training = tokens * passes(step, config) * flops_per_token(shape, length) / matmul_rate(shape, rows, device, half)
    return (training + decoding) / step["processes"]


def flops_per_token(shape: Shape, length: float) -> float:
    """Floating-point operations of one token in one forward pass: all layers, causal attention over `length`, the logits."""
    linear = sum(math.prod(sides) for sides in shape.linear.values())
    return 2 * linear + 2 * shape.layers * length * shape.queries + 2 * shape.hidden * shape.vocabulary


def passes(step: ResolvedStep, config: Config) -> int:
    """Forward passes that one token costs: a backward pass is two, one where the weights are frozen under an adapter."""
    checkpointed = any(getattr(config, name, False) for name in CHECKPOINTING_ARGS)
    reference = step["method"] in ("dpo", "kto") or (step["method"] == "grpo" and config.beta > 0)
    return 1 + (1 if step["lora"] else 2) + checkpointed + reference


def matmul_rate(shape: Shape, rows: int, device: str, half: bool) -> float:
    """Floating-point operations a second of (rows, hidden) @ (hidden, intermediate), at most.

    The best of several, and on a CPU that of one thread times the threads: other processes would slow it, and the result is to
    be a time that the training takes at least. Sides are cut to MOST_SIDE, which is long enough for the full rate.
    """
    import torch

    side = MOST_SIDE[device]
    rows, hidden, intermediate = (min(length, side) for length in (rows, shape.hidden, shape.intermediate))
    dtype = torch.bfloat16 if half else torch.float32
    a = torch.ones(rows, hidden, dtype=dtype, device=device)
    b = torch.ones(hidden, intermediate, dtype=dtype, device=device)
    best, tries, until = math.inf, 0, time.perf_counter() + TIMED_S
    threads = torch.get_num_threads() if device == "cpu" else 1
    try:
        if device == "cpu":
            torch.set_num_threads(1)
        while tries < FEWEST_TRIES or time.perf_counter() < until:
            begun = time.perf_counter()
            a @ b
            if device == "cuda":
                torch.cuda.synchronize()
            best, tries = min(best, time.perf_counter() - begun), tries + 1
    finally:
        if device == "cpu":
            torch.set_num_threads(threads)
    return threads * 2 * rows * hidden * intermediate / best
