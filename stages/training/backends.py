"""What trains: plain transformers with PEFT, or Unsloth, which patches both and TRL's trainers when it is imported.

Source: Unsloth's guides "Fine-tuning LLMs", "Preference optimization" and "GRPO" for version 2026.10. Importing it patches
every trainer of TRL, ORPO's too (`patch_trl_rl_trainers`); `PatchDPOTrainer` and `PatchKTOTrainer` are called as its guides
do, though they do nothing in that version.
"""

import importlib.util
import os

from stages.training.models import full_weights, load_model
from validators.problems import Problem, Problems

# what PEFT's all-linear is in the architectures that Unsloth knows; it compiles these layers by name
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def choose_backend(wanted):
    """`unsloth` where it is wanted, or where `auto` finds it beside a CUDA device; else `transformers`.

    Unsloth patches transformers and TRL, so it is imported before either.
    """
    if wanted == "auto":
        import torch

        found = torch.cuda.is_available() and importlib.util.find_spec("unsloth")
        wanted = "unsloth" if found else "transformers"
    if wanted == "unsloth":
        os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", os.path.abspath(".work/unsloth"))  # else in the project
        os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # else each load asks the Hub for a file
        try:
            import unsloth

            unsloth.PatchDPOTrainer()
            getattr(unsloth, "PatchKTOTrainer", lambda: None)()
        except (ImportError, NotImplementedError, RuntimeError) as error:
            hint = "pip install -e '.[gpu]' on a machine with an NVIDIA GPU, or base.backend: auto"
            raise Problems([Problem("base.backend", f"unsloth does not load: {error}", "unsloth", hint)]) from None
    return wanted


def missing_requirements(name, step):
    """Problems for what a step wants and this machine has not; known before anything is loaded."""
    import torch

    where, problems = f"steps.{name}", []
    if step.get("load_in_4bit"):
        hint = "set load_in_4bit: false, or train on a machine with an NVIDIA GPU"
        if not torch.cuda.is_available():
            problems.append(Problem(f"{where}.load_in_4bit", "no CUDA device", "one, for 4-bit weights", hint))
        elif not importlib.util.find_spec("bitsandbytes"):
            hint = "pip install -e '.[gpu]', which brings it, or load_in_4bit: false"
            problems.append(Problem(f"{where}.load_in_4bit", "bitsandbytes is not installed", "bitsandbytes", hint))
    if step["args"].get("use_vllm") and not importlib.util.find_spec("vllm"):
        hint = "docs/training.md says which vllm fits and how to install it; or use_vllm: false: transformers generates, more slowly"
        problems.append(Problem(f"{where}.args.use_vllm", "vllm is not installed", "vllm", hint))
    return problems


def device():
    """The device that trains, by its name."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def load_for_training(folder, step, config):
    """(model, arguments of the trainer): the model of a folder with its chain merged, on the step's backend."""
    if step["backend"] == "unsloth":
        return unsloth_model(folder, step, config), {}
    if not step["lora"]:
        # full precision: bf16 is the autocast's, and small updates are not lost in the weights
        return load_model(folder), {}
    model = load_in_4bit(folder, config) if step.get("load_in_4bit") else load_model(folder, compute_dtype(config))
    return model, {"peft_config": lora_config(step["lora"])}


def compute_dtype(config):
    return "bfloat16" if config.bf16 else "float16" if config.fp16 else "float32"


def lora_config(lora):
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **lora)


def load_in_4bit(folder, config):
    """The full weights of a folder in NF4 with double quantisation (QLoRA, arXiv 2305.14314), on this process's GPU."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, compute_dtype(config))
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return AutoModelForCausalLM.from_pretrained(
        full_weights(folder),
        quantization_config=quantization,
        dtype=dtype,
        device_map={"": int(os.environ.get("LOCAL_RANK", "0"))},
        use_safetensors=True,
        trust_remote_code=False,
    )


def unsloth_model(folder, step, config):
    """The model of a folder, loaded and given adapters by Unsloth as its guide says."""
    from unsloth import FastLanguageModel

    lora = step["lora"]
    shared = {"fast_inference": True, "max_lora_rank": lora["r"]} if lora and step["args"].get("use_vllm") else {}
    if shared:
        shared["gpu_memory_utilization"] = config.vllm_gpu_memory_utilization
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(full_weights(folder)),
        max_seq_length=longest(step, config),
        load_in_4bit=bool(step.get("load_in_4bit")),
        full_finetuning=not lora,
        use_exact_model_name=True,  # the folder, not a copy on the Hub that its name resembles
        trust_remote_code=False,
        **shared,
    )
    if not lora:
        return model
    wanted = lora["target_modules"]
    return FastLanguageModel.get_peft_model(
        model,
        use_gradient_checkpointing="unsloth" if config.gradient_checkpointing else False,
        random_state=step["seed"],
        **(lora | {"target_modules": LINEAR if wanted == "all-linear" else wanted}),
    )


def longest(step, config):
    """Tokens of the longest sequence that the step can train on."""
    if step["method"] == "grpo":
        return step["length"]["max"] + config.max_completion_length
    return config.max_length or step["length"]["max"]
