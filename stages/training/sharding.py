"""How `accelerate launch` shards a model over its processes, and settings that would leave the finished model in pieces.

steps.sft: launch: fsdp_state_dict_type is SHARDED_STATE_DICT, which leaves the finished model in pieces; expected FULL_STATE_DICT
  hint: recipes/accelerate/fsdp2.yaml has it

accelerate puts its config into the environment, so nothing has to be loaded to read it.
"""

import os

from stages.training.types import ResolvedStep
from validators.problems import Problem


def sharding() -> str | None:
    """`fsdp2`, `zero3` or the like if the weights are sharded; None if each process has all of them."""
    if is_on("ACCELERATE_USE_FSDP"):
        return f"fsdp{os.environ.get('FSDP_VERSION', '1')}"
    if is_on("ACCELERATE_USE_DEEPSPEED"):
        return f"zero{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', '')}"  # a config file of DeepSpeed's own says the rest
    return None


def is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"


def sharding_problems(name: str, step: ResolvedStep) -> list[Problem]:
    """Problems of a step with its launch. step: as preflight resolved it."""
    how, where, problems = sharding(), f"steps.{name}", []
    if how is None:
        return []
    if step["backend"] == "unsloth":
        found, hint = (
            f"Unsloth cannot train a sharded model, and launch asks for {how}",
            "base: {backend: transformers}",
        )
        problems.append(
            Problem(f"{where}.backend", found, "transformers, or whole models (recipes/accelerate/ddp.yaml)", hint)
        )
    kind = os.environ.get("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT" if how == "fsdp2" else "FULL_STATE_DICT")
    if how.startswith("fsdp") and kind not in ("FULL_STATE_DICT", "1"):
        found = f"fsdp_state_dict_type is {kind}, which leaves the finished model in pieces"
        problems.append(Problem(f"{where}: launch", found, "FULL_STATE_DICT", "recipes/accelerate/fsdp2.yaml has it"))
    if how == "zero3" and not is_on("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"):
        found = "zero3_save_16bit_model is not on, which leaves the finished model in pieces"
        problems.append(Problem(f"{where}: launch", found, "true", "recipes/accelerate/zero3.yaml has it"))
    return problems
