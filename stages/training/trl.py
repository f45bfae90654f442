"""TRL's configs and trainers by method, with the settings without which they go wrong here.

Each setting that is forced stands with its trap; everything else is TRL's default or the step's `args`.
"""

import os
import re

from validators.problems import Problem, Problems

CONFIGS = {"sft": "SFTConfig", "dpo": "DPOConfig", "orpo": "ORPOConfig", "kto": "KTOConfig", "grpo": "GRPOConfig"}
COLUMNS = {
    "sft": ["messages", "tools"],
    "dpo": ["prompt", "chosen", "rejected"],
    "orpo": ["prompt", "chosen", "rejected"],
    "kto": ["prompt", "completion", "label"],
    "grpo": ["prompt", "ground_truth", "extra"],
}
# what a step's `lora` is where params.yaml leaves something out; PEFT's own defaults are others
LORA = {"r": 16, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"}


def trl_class(name):
    """A class of TRL's by its name; ORPO lives among its experiments, and says so once is enough."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else TRL tells the Hub what is trained, and waits for it
    if name.startswith("ORPO"):
        from trl.experimental import orpo as module
    else:
        import trl as module
    return getattr(module, name)


def make_config(where, step, output_dir):
    """TRL's config of a step. What TRL refuses becomes Problems.

    step: {method, args, seed, ...} as preflight resolved it. where: names the step in an error.
    """
    import torch

    forced = {
        "output_dir": output_dir,
        "report_to": "none",  # else it logs to whatever tracker is installed
        "seed": step["seed"],
        "disable_tqdm": not os.isatty(2),
        "save_strategy": "no",  # `stages/training/resume.py` says when
        "logging_nan_inf_filter": False,  # `stages/training/failures.py` stops instead
    }
    if not torch.cuda.is_available():
        # TRL's defaults are bf16 and checkpointing, which a CPU does slowly or not at all
        forced |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    if step["method"] == "sft":
        forced["assistant_only_loss"] = True  # else the prompts are trained as well
    try:
        return trl_class(CONFIGS[step["method"]])(**(forced | step["args"]))
    except (TypeError, ValueError) as error:
        raise Problems(
            [
                Problem(
                    where,
                    f"TRL refuses these args: {error}",
                    "values that fit each other",
                    f"see TRL's documentation of {CONFIGS[step['method']]}",
                )
            ]
        ) from None


def training_tokenizer(tokenizer):
    """The tokenizer with a chat template that marks what the assistant says, as SFT needs it."""
    if not re.search(r"{%-?\s*generation\s*-?%}", tokenizer.chat_template):
        from trl.chat_template_utils import get_training_chat_template

        try:
            tokenizer.chat_template = get_training_chat_template(tokenizer) or tokenizer.chat_template
        except ValueError:
            raise Problems(
                [
                    Problem(
                        "models/base",
                        "the chat template does not mark what the assistant says",
                        "{% generation %} ... {% endgeneration %} around the assistant's turn and its end",
                        "add the marks to the model's chat_template.jinja",
                    )
                ]
            ) from None
    return tokenizer
