"""The backend that trains: plain transformers with PEFT, or Unsloth, which patches both and TRL's trainers when it is imported."""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.training.devices import device_problems
from stages.training.models import full_weights, load_model
from stages.training.sharding import sharding, sharding_problems
from stages.training.types import Config, ResolvedStep
from stages.training.unsloth_backend import compute_dtype, import_unsloth, load_with_unsloth
from validators.problems import Problem

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def choose_backend(wanted: str) -> str:
    """`unsloth` if it is wanted, or if `auto` finds it and a CUDA device; else `transformers`.

    Unsloth patches transformers and TRL, so this imports it before either.
    """
    if wanted == "auto":
        import torch

        usable = torch.cuda.is_available() and importlib.util.find_spec("unsloth") and not sharding()
        wanted = "unsloth" if usable else "transformers"
    if wanted == "unsloth":
        import_unsloth()
    return wanted


def missing_requirements(name: str, step: ResolvedStep) -> list[Problem]:
    """Problems for each thing that a step needs and this machine lacks. Nothing is loaded for it."""
    where, problems = f"steps.{name}", device_problems(name, step) + sharding_problems(name, step)
    if step.get("load_in_4bit"):
        if not importlib.util.find_spec("bitsandbytes"):
            hint = "pip install bitsandbytes, or load_in_4bit: false"
            problems.append(Problem(f"{where}.load_in_4bit", "bitsandbytes is not installed", "bitsandbytes", hint))
        elif reason := why_no_4bit():
            found = f"bitsandbytes cannot train 4-bit weights on this machine's {device_name()}: {reason}"
            hint = "set load_in_4bit: false, or install a bitsandbytes with kernels for this machine"
            problems.append(Problem(f"{where}.load_in_4bit", found, "a 4-bit layer that can be trained", hint))
    if step["args"].get("use_vllm") and not importlib.util.find_spec("vllm"):
        hint = "docs/training.md says which vllm fits and how to install it; or set use_vllm: false, and transformers generates, more slowly"
        problems.append(Problem(f"{where}.args.use_vllm", "vllm is not installed", "vllm", hint))
    return problems


def device_name() -> str:
    """The name of the device that trains, such as "NVIDIA H200" or "cpu"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def why_no_4bit() -> str | None:
    """Why bitsandbytes cannot train over 4-bit weights on this machine; None if it can.

    Tries a layer: bitsandbytes has its functions on every machine, and they fail only when they are called.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        import bitsandbytes  # ty: ignore[import-not-found]  # an extra

        layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4").to(device)
        rows = torch.ones(2, 64, device=device, requires_grad=True)
        layer(rows).sum().backward()
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None if rows.grad is not None and torch.isfinite(rows.grad).all() else "the gradient is not a finite number"


def load_for_training(folder: Path, step: ResolvedStep, config: Config) -> tuple["PreTrainedModel", dict[str, Any]]:
    """(model, extra arguments of the trainer): the model of a folder with its adapters merged, on the step's backend."""
    if step["backend"] == "unsloth":
        return load_with_unsloth(folder, step, config), {}
    if not step["lora"]:
        # float32 weights keep small updates; bf16 is for the autocast only
        return load_model(folder), {}
    model = load_in_4bit(folder, config) if step.get("load_in_4bit") else load_model(folder, compute_dtype(config))
    return model, {"peft_config": lora_config(step["lora"])}


def lora_config(lora: dict[str, Any]) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **lora)


def load_in_4bit(folder: Path, config: Config) -> "PreTrainedModel":
    """The full weights of a folder in NF4 with double quantisation (QLoRA, arXiv 2305.14314), on this process's device."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, compute_dtype(config))
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model = AutoModelForCausalLM.from_pretrained(
        full_weights(folder),
        quantization_config=quantization,
        dtype=dtype,
        device_map={"": int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"},
        use_safetensors=True,
        trust_remote_code=False,
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # else bitsandbytes repacks the weights at the first forward pass without gradients, and never unpacks them
            module.support_avx512bf16_for_cpu = False  # ty: ignore[invalid-assignment]  # bitsandbytes' own attribute
    return model
