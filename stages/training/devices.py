"""What is wrong with this machine's GPUs for a step. Found before anything is loaded; else the step would train differently in silence.

steps.sft: torch 2.13.0+cu130 cannot use the GPU: The NVIDIA driver on your system is too old (found version 11040)
  hint: install a newer driver, or a torch that is built for this one; CUDA_VISIBLE_DEVICES= trains on the CPU
"""

import os
from types import ModuleType

from stages.training.types import ResolvedStep
from validators.problems import Problem

CPU_HINT = "CUDA_VISIBLE_DEVICES= in the environment trains on the CPU"


def device_problems(name: str, step: ResolvedStep) -> list[Problem]:
    """Problems of a step with the GPUs that torch sees on this machine."""
    import torch

    where = f"steps.{name}"
    if not torch.cuda.is_available():
        reason = why_no_gpu(torch)
        if reason is None:
            return []
        found = f"torch {torch.__version__} cannot use the GPU: {reason}"
        hint = f"install a newer driver, or a torch that is built for this one; {CPU_HINT}"
        return [Problem(where, found, "a GPU that torch can use, or none", hint)]
    problems, count = [], torch.cuda.device_count()
    if count > 1 and "LOCAL_RANK" not in os.environ:
        # transformers' Trainer would wrap the model in DataParallel
        found = f"{count} GPUs are visible to one process: each batch would be {count} times as large as the step says"
        hint = "launch: accelerate launch --config_file recipes/accelerate/ddp.yaml, or CUDA_VISIBLE_DEVICES=0 in the environment"
        problems.append(Problem(where, found, "one GPU a process", hint))
    if wants_bfloat16(step) and not torch.cuda.is_bf16_supported(including_emulation=False):
        found = f"{torch.cuda.get_device_name()} cannot compute in bfloat16, TRL's default on a GPU"
        hint = "args: {fp16: true, bf16: false}, or {bf16: false} for float32"
        problems.append(Problem(f"{where}.args.bf16", found, "a precision that the GPU supports", hint))
    return problems


def wants_bfloat16(step: ResolvedStep) -> bool:
    """Whether a step needs bfloat16 of the GPU. An explicit `bf16: true` works with transformers, which emulates it."""
    args = step["args"]
    if args.get("bf16") is not None:
        return args["bf16"] and step.get("backend") == "unsloth"
    return not args.get("fp16")


def why_no_gpu(torch: ModuleType) -> str | None:
    """Why a torch that is built for CUDA cannot use the GPU of this machine; None if there is no GPU, or if it is hidden.

    `torch.cuda.is_available()` is False in all of these cases, with a warning that scrolls away.
    """
    if torch.version.cuda is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    try:
        torch.cuda.init()
    except RuntimeError as error:
        text = str(error).strip().splitlines()[0]
        return None if "no NVIDIA driver" in text or "No CUDA GPUs" in text else text
    return None
