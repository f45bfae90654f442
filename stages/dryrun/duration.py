"""Estimate how long a training takes on this machine, before a weight is loaded.

    least_seconds(step, shape, config, reached, "cpu") -> 2100.0    # its matrix products, at the rate of one that is timed
    likely_seconds(step, config, SmallModel(Path("models/base")), reached) -> 260.0    # steps of a small model, timed

All else that a training does (norms, softmax, the optimizer, reading rows) comes on top of matrix products. docs/preflight.md
says how far from the estimates it was where it was measured.
"""

import math
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.dryrun.memory import Shape
from stages.training.trl import CHECKPOINTING_ARGS
from stages.training.types import Config, ResolvedStep

if TYPE_CHECKING:
    import torch

SMALL_MODEL = 20_000_000  # weights of a model that is made at random and timed, on a CPU
TRIAL_TOKENS = 2048  # at most, of a batch that is timed; a longer one takes its part of the time
DECODED = 16  # tokens of the answers that are timed
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


class SmallModel:
    """A model of a folder's config with random weights, whose passes are timed on the CPU. context: its positions, 0 if unknown."""

    def __init__(self, folder: Path, context: int = 0) -> None:
        self.folder, self.most = folder, min(TRIAL_TOKENS, (context or TRIAL_TOKENS + DECODED) - DECODED)

    @cached_property
    def model(self) -> Any:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        with torch.random.fork_rng(devices=[]):
            config = AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)

    def pass_seconds(self, sequences: int, length: int) -> tuple[float, float, float]:
        """Seconds of (a forward pass, a forward and a backward pass, an optimizer step) with sequences of `length` tokens."""
        import torch

        ids, part = self.trial_batch(sequences, length)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0)

        def forward() -> None:
            with torch.inference_mode():
                self.model(ids)

        both = timed(lambda: self.model(ids, labels=ids).loss.backward())
        found = timed(forward) / part, both / part, timed(optimizer.step)
        self.model.zero_grad(set_to_none=True)
        return found

    def decode_seconds(self, sequences: int, length: int) -> float:
        """Seconds of one more token of every answer to prompts of `length` tokens."""
        import torch

        ids, part = self.trial_batch(sequences, length)
        options = {"max_new_tokens": DECODED, "min_new_tokens": DECODED, "do_sample": False, "pad_token_id": 0}

        def answer() -> None:
            with torch.inference_mode():
                self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)

        return timed(answer) / DECODED / part

    def trial_batch(self, sequences: int, length: int) -> tuple["torch.Tensor", float]:
        """(a batch of TRIAL_TOKENS at most, (sequences, length) token ids; which part it is of the wanted one)."""
        import torch

        sequences, length = max(sequences, 1), max(length, 1)
        shape = max(1, min(sequences, TRIAL_TOKENS // length)), min(length, self.most)
        return torch.zeros(shape, dtype=torch.long), shape[0] * shape[1] / (sequences * length)


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call: the middle one of three, after one that warms up."""
    seconds = []
    run()
    for _ in range(3):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return sorted(seconds)[1]


def likely_seconds(step: ResolvedStep, config: Config, model: SmallModel, reached: float) -> float:
    """Seconds of a small model's training, from passes that are timed, with full weights. grpo: as if each answer had `max_completion_length` tokens.

    reached: epochs.
    """
    length = round(step["tokens"] / max(step["sequences"], 1))
    batches = step["optimizer_steps"] * config.gradient_accumulation_steps
    decoding = 0.0
    if step["method"] == "grpo":
        sequences = config.per_device_train_batch_size
        sampled = sequences * config.steps_per_generation
        samplings = batches / config.steps_per_generation / config.num_iterations
        decoding = samplings * config.max_completion_length * model.decode_seconds(sampled, length)
        length += config.max_completion_length
    else:  # a pair is two sequences
        sequences = max(1, round(step["sequences"] * reached / batches / step["processes"]))
    forward, both, optimizer = model.pass_seconds(sequences, length)
    # without the passes of a plain training, which are three: the reference model's, and those that are computed again
    more = passes(step | {"lora": None}, config) - 3
    return batches * (both + more * forward) + step["optimizer_steps"] * optimizer + decoding
