"""Models and adapters by Unsloth, which patches transformers and TRL when it is imported.

Source: Unsloth's guides "Fine-tuning LLMs", "Preference optimization" and "GRPO", and its code of version 2026.10.9. On a GPU
it replaces TRL's configs and trainers by subclasses with other defaults. `stages/training/trl.py` passes TRL's defaults to them;
a setting that they change even so stops the step here. Without a GPU Unsloth has a CPU backend of its own, plain transformers
and PEFT: UNSLOTH_DISABLE_CPU_FALLBACK=0 in the environment allows it.
"""

import importlib.metadata
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.training.models import full_weights
from stages.training.types import Config, ResolvedStep
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TESTED_VERSIONS = ("2026.10.9", "2026.10.9")  # the first and the last version that tests/with_unsloth ran with
PARITY_TEST = "pytest -m long tests/with_unsloth/test_parity.py"
COMPILE_FOLDER = ".work/_unsloth"  # the modules that it compiles; no step can have this name
# PEFT's all-linear in the architectures that Unsloth supports; it compiles these layers by name
LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EQUIVALENT_VALUES = (("adamw_torch", "adamw_torch_fused"),)  # values of a setting that give the same numbers


def import_unsloth() -> None:
    """Import Unsloth; call it before transformers or TRL is imported. Raises Problems if the import fails."""
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", os.path.abspath(COMPILE_FOLDER))  # else in the project's folder
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # else each load asks the Hub for a file
    # else a machine whose GPU is missing trains on its CPU for days
    os.environ.setdefault("UNSLOTH_DISABLE_CPU_FALLBACK", "1")
    try:
        import unsloth  # noqa: F401  # ty: ignore[import-not-found]  # an extra
    except Exception as error:  # a package that patches others can fail in any way
        text = " ".join(str(error).split()) or type(error).__name__
        hint = "pip install -e '.[gpu]' on a machine with an NVIDIA GPU, or base.backend: auto"
        if not isinstance(error, ImportError) and os.environ["UNSLOTH_DISABLE_CPU_FALLBACK"] == "1":
            hint += "; UNSLOTH_DISABLE_CPU_FALLBACK=0 in the environment trains on the CPU, slowly"
        raise Problems([Problem("base.backend", f"unsloth does not load: {text[:300]}", "unsloth", hint)]) from None
    if os.environ.get("RANK", "0") == "0" and (
        caution := untested_version_warning(importlib.metadata.version("unsloth"))
    ):
        print(caution)


def untested_version_warning(version: str) -> str | None:
    """A warning about a version of Unsloth that is newer than the last tested one; None for other versions."""
    from packaging.version import Version

    first, last = TESTED_VERSIONS
    if Version(version) <= Version(last):
        return None
    named = last if first == last else f"{first} to {last}"
    return f"warning: unsloth {version} is newer than the tested {named}. To check that its losses equal those of transformers, run: {PARITY_TEST}"


def load_with_unsloth(folder: Path, step: ResolvedStep, config: Config) -> "PreTrainedModel":
    """The model of a folder, loaded by Unsloth, with new adapters if the step has `lora`. Follows Unsloth's guide."""
    import torch
    from unsloth import FastLanguageModel  # ty: ignore[import-not-found]  # an extra

    lora, name = step["lora"], step["step"]
    if problem := context_problem(name, step, config, context_length(folder)):
        raise Problems([problem])
    shared = {"fast_inference": True, "max_lora_rank": lora["r"]} if lora and step["args"].get("use_vllm") else {}
    if shared:
        shared["gpu_memory_utilization"] = config.vllm_gpu_memory_utilization
    checkpointing = "unsloth" if config.gradient_checkpointing else False
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(full_weights(folder)),
        max_seq_length=max_sequence_length(step, config, context_length(folder)),
        # weights that are trained are float32, else small updates are lost; bf16 is for the autocast only
        dtype=getattr(torch, compute_dtype(config)) if lora else torch.float32,
        load_in_4bit=bool(step.get("load_in_4bit")),
        full_finetuning=not lora,
        use_gradient_checkpointing=checkpointing,
        use_exact_model_name=True,  # load the folder, not a model on the Hub with a similar name
        trust_remote_code=False,
        **shared,
    )
    if step.get("load_in_4bit") and not getattr(model, "is_loaded_in_4bit", False):
        hint = "base.backend: transformers, or load_in_4bit: false"
        raise Problems([Problem(f"steps.{name}.load_in_4bit", "unsloth loads 16-bit weights here", "4 bits", hint)])
    if not lora:
        return model
    wanted = lora["target_modules"]
    return FastLanguageModel.get_peft_model(
        model,
        use_gradient_checkpointing=checkpointing,
        random_state=step["seed"],
        **(lora | {"target_modules": LINEAR_LAYERS if wanted == "all-linear" else wanted}),
    )


def compute_dtype(config: Config) -> str:
    return "bfloat16" if config.bf16 else "float16" if config.fp16 else "float32"


# -- lengths --------------------------------------------------------------------------------------------------------


def context_length(folder: Path) -> int | None:
    """The context length of a model in tokens, from its config; None if the config does not give it."""
    config = json.loads((full_weights(folder) / "config.json").read_text(encoding="utf-8"))
    return (config | config.get("text_config", {})).get("max_position_embeddings")


def longest_sequence(step: ResolvedStep, config: Config) -> int:
    """Tokens of the longest sequence that the step can train."""
    if step["method"] == "grpo":
        return step["length"]["max"] + config.max_completion_length
    return config.max_length or step["length"]["max"]


def max_sequence_length(step: ResolvedStep, config: Config, context: int | None) -> int:
    """The `max_seq_length` of a step, at most the model's context: beyond it Unsloth would scale positions for all rows."""
    return min(longest_sequence(step, config), context or longest_sequence(step, config))


def context_problem(name: str, step: ResolvedStep, config: Config, context: int | None) -> Problem | None:
    """The Problem of a step whose sequences are longer than the model's context; None if all fit. Unsloth cuts them silently."""
    tokens = longest_sequence(step, config)
    if step["method"] != "grpo" and not getattr(config, "packing", False):
        tokens = min(tokens, step["length"]["max"])
    if not context or tokens <= context:
        return None
    found = f"sequences have up to {tokens:,} tokens, but the model's context is {context:,}: unsloth would cut them"
    lower = "a lower max_completion_length" if step["method"] == "grpo" else f"args: {{max_length: {context}}}"
    hint = f"{lower}, or base.backend: transformers, which trains beyond the context"
    return Problem(f"steps.{name}", found, "sequences within the context", hint)


# -- what it changes --------------------------------------------------------------------------------------------------


def stop_if_args_changed(name: str, config: Config, args: dict[str, Any]) -> None:
    """Raise Problems for each arg of a step that Unsloth has changed; Unsloth itself prints a note at most."""
    problems = []
    for key, wanted in args.items():
        found = getattr(config, key, None)
        found = getattr(found, "value", found)
        # Unsloth lowers max_length to the context, which no row exceeds: see `context_problem`
        if key == "max_length" or found == wanted or not isinstance(wanted, bool | int | float | str):
            continue
        if any(wanted in values and found in values for values in EQUIVALENT_VALUES):
            continue
        hint = f"base.backend: transformers, or args: {{{key}: {json.dumps(found, default=str)}}}"
        problems.append(
            Problem(f"steps.{name}.args.{key}", f"unsloth trains with {found!r} instead", repr(wanted), hint)
        )
    if problems:
        raise Problems(problems)
