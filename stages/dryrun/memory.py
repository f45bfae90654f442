"""Estimate how much memory a step needs, from the shapes of its base model alone; docs/preflight.md derives the formula.

    estimate_memory(step, shape, config, "cuda", fused_logit_tile("sft")) -> {"weights": 2.4e9, "gradients": ..., ..., "total": 1.9e10} in bytes

Activations are counted as in Korthikanti et al. (Reducing Activation Recomputation in Large Transformer
Models, 2022), for the layers of today: gated MLPs, grouped queries, attention that keeps no matrix of scores.
"""

import json
import math
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.training.models import BASE, load_pretrained
from stages.training.trl import CHECKPOINTING_ARGS, trl_class
from stages.training.types import Config, ResolvedStep

GB = 1e9
NF4 = (4 + 0.127) / 8  # bytes a weight with double quantisation, QLoRA (Dettmers et al. 2023), section 3
CHUNK_TOKENS = 256  # tokens whose logits TRL's chunked loss holds at a time
BYTES_PER_LOGIT = 16  # bytes a logit: itself, its log-softmax, and the gradients of both, all in float32
MEMORY_NAMES = {"cuda": "GPU", "cpu": "memory"}
NOT_LINEAR = re.compile(r"embed|lm_head|wte|wpe")


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide its memory. linear: {module: (out, in)} of the layers that LoRA and 4 bits apply to."""

    parameters: int
    linear: dict[str, tuple[int, ...]]
    layers: int
    hidden: int
    queries: int
    keys: int
    intermediate: int
    vocabulary: int
    embedding: int
    context: int


def read_shape(folder: Path = BASE) -> Shape:
    """The Shape of the model in a folder, from its config and the headers of its safetensors; no weight is read."""
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig, folder).get_text_config()
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors |= tensor_shapes(path)
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    linear = {
        name.removesuffix(".weight"): shape
        for name, shape in tensors.items()
        if len(shape) == 2 and name.endswith(".weight") and not NOT_LINEAR.search(name)
    }
    rows = [shape[0] for name, shape in tensors.items() if re.search(r"(embed_tokens|wte)\.weight$", name)]
    return Shape(
        parameters=sum(math.prod(shape) for shape in tensors.values()),
        linear=linear,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        queries=heads * size,
        keys=(getattr(config, "num_key_value_heads", None) or heads) * size,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        embedding=rows[0] if rows else config.vocab_size,
        context=getattr(config, "max_position_embeddings", None) or 0,
    )


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """{tensor: shape} of a safetensors file."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        tensors = json.loads(file.read(size))
    return {name: tuple(tensor["shape"]) for name, tensor in tensors.items() if name != "__metadata__"}


def lora_parameters(shape: Shape, lora: dict[str, Any]) -> int:
    """The number of weights of an adapter: r x (in + out) for every layer that it is on."""
    targets = lora["target_modules"]
    if targets == "all-linear":
        adapted = shape.linear
    elif isinstance(targets, str):
        adapted = [name for name in shape.linear if re.fullmatch(targets, name)]
    else:
        adapted = [
            name
            for name in shape.linear
            if name.split(".")[-1] in targets or name.endswith(tuple(f".{t}" for t in targets))
        ]
    return lora["r"] * sum(sum(shape.linear[name]) for name in adapted)


def estimate_memory(
    step: ResolvedStep, shape: Shape, config: Config, device: str, tile: tuple[int, int] | None
) -> dict[str, float]:
    """{part: bytes} at the peak of a training, "total" last; assumes a batch of the longest rows.

    config: TRL's, of this machine; for a GPU, TRL's defaults of a GPU apply instead. tile: `fused_logit_tile` of the method.
    """
    on_gpu, args, lora = device == "cuda", step["args"], step["lora"]
    half = args.get("bf16", not args.get("fp16", False)) if on_gpu else config.bf16
    chosen = [args[name] for name in CHECKPOINTING_ARGS if name in args]
    checkpointed = [*chosen, True][0] if on_gpu else config.gradient_checkpointing
    four_bit = bool(lora) and bool(step.get("load_in_4bit"))
    linear = sum(math.prod(sides) for sides in shape.linear.values())
    trained = lora_parameters(shape, lora) if lora else shape.parameters
    # full training keeps float32 weights, and autocast makes half copies; with an adapter the base itself is half
    width = 2 if lora and half else 4
    weights = NF4 * linear + 2 * (shape.parameters - linear) if four_bit else width * shape.parameters
    batch, tokens, scored = forward_pass_size(step, config)
    parts = {
        "weights": weights + (2 if four_bit else 4) * trained * bool(lora),
        "half copies": 2 * linear if half and not lora else 0,
        "reference": weights if keeps_reference(step, config) else 0,
        "gradients": (2 if four_bit else 4) * trained,
        "optimizer": optimizer_bytes(config) * trained,
        "activations": batch * tokens * activation_bytes(shape, lora, half, checkpointed),
        "logits": logit_bytes(tile, shape.vocabulary, scored, (2 if half else 4) if on_gpu else None),
    }
    return parts | {"total": sum(parts.values())}


def forward_pass_size(step: ResolvedStep, config: Config) -> tuple[int, int, int]:
    """(sequences, tokens of the longest, tokens whose logits are held) in one forward pass of one device."""
    method, longest = step["method"], step["length"]["max"]
    limit: Any = getattr(config, "max_length", None)
    batch = config.per_device_train_batch_size * (2 if method in ("dpo", "orpo") else 1)
    if method == "grpo":
        return batch, longest + config.max_completion_length, batch * (config.max_completion_length + 1)
    tokens = min(longest, limit or longest)
    if method == "sft":
        if config.packing:
            tokens = limit
        return batch, tokens, min(CHUNK_TOKENS, batch * tokens) if config.loss_type == "chunked_nll" else batch * tokens
    return batch, tokens, batch * tokens


def fused_logit_tile(method: str) -> tuple[int, int] | None:
    """(tokens, columns) of the logits that TRL's trainer of a method holds at a time; None if it holds those of all tokens.

    Reads the installed TRL: from 1.16 on every trainer except ORPO's computes logits in tiles, of a size of its own.
    """
    trainer = sys.modules[trl_class(f"{method.upper()}Trainer").__module__]
    if not hasattr(trainer, "add_fused_lm_head"):
        return None
    own = sys.modules[trainer.add_fused_lm_head.__module__]
    return sys.modules[own._ChunkedLogProbFunction.__module__].TOKEN_CHUNK_SIZE, own._CHUNKED_LOGPROB_CHUNK_SIZE


def logit_bytes(tile: tuple[int, int] | None, vocabulary: int, scored: int, kernel: int | None) -> int:
    """Bytes of the logits held at once. kernel: bytes of a value if one kernel computes a tile, as on a GPU; else None."""
    if tile is None:
        return BYTES_PER_LOGIT * vocabulary * scored
    tokens, columns = min(scored, tile[0]), tile[1]
    # on a GPU a tile has TRL's width whatever the vocabulary; a CPU uses only what it needs, in several steps
    return kernel * columns * tokens if kernel else BYTES_PER_LOGIT * min(columns, vocabulary) * tokens


def activation_bytes(shape: Shape, lora: dict[str, Any] | None, half: bool, checkpointed: bool) -> float:
    """Bytes that one token keeps for the backward pass, in all layers."""
    size = 2 if half else 4
    # both norms keep their input and the output of their scaling, in float32, and the residual sum
    layer = 4 * 6 * shape.hidden
    # queries with their norm and rotation, keys and values repeated for all heads, and the output of attention
    layer += size * (6 * shape.queries + 2 * shape.keys)
    layer += size * 4 * shape.intermediate  # gate, its activation, up, and their product
    if lora:
        layer += 4 * len(shape.linear) / shape.layers * lora["r"]
    # with checkpointing a layer keeps only its input, and one layer at a time is recomputed
    return 4 * shape.hidden * shape.layers + layer if checkpointed else layer * shape.layers


def keeps_reference(step: ResolvedStep, config: Config) -> bool:
    """Whether a second model is in memory; with an adapter the reference is the same model with its adapter off."""
    if step["lora"] or getattr(config, "precompute_ref_log_probs", False):
        return False
    return step["method"] in ("dpo", "kto") or (step["method"] == "grpo" and config.beta > 0)


def optimizer_bytes(config: Config) -> int:
    """Bytes of optimizer state for each trained weight."""
    name = str(getattr(config.optim, "value", config.optim))
    if "8bit" in name:
        return 2
    if name.startswith(("sgd", "adafactor")):
        return 0
    return 4 if name.startswith(("lion", "adagrad", "rmsprop")) else 8


def format_bytes(count: float) -> str:
    """Bytes as text: 35 MB, 1.2 GB."""
    return f"{count / GB:,.1f} GB" if count >= GB else f"{count / 1e6:,.0f} MB"


def free_bytes() -> tuple[str, int | None]:
    """(device, free bytes) of this machine: its GPU, else its memory; None if unknown."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.cuda.mem_get_info()[0]
    for line in (
        Path("/proc/meminfo").read_text(encoding="utf-8").splitlines() if Path("/proc/meminfo").exists() else []
    ):
        if line.startswith("MemAvailable:"):
            return "cpu", int(line.split()[1]) * 1024
    return "cpu", None
