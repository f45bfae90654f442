"""TRL's configs and trainers by method, with the settings that Tilth needs.

A comment beside each forced setting says why; everything else is TRL's default or the step's `args`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from stages.training.reasoning_masks import LABEL_COLUMNS as MASKED
from stages.training.types import Config, ResolvedStep
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from datasets import Dataset


CONFIG_CLASSES = {
    "sft": "SFTConfig",
    "dpo": "DPOConfig",
    "orpo": "ORPOConfig",
    "kto": "KTOConfig",
    "grpo": "GRPOConfig",
}
CHECKPOINTING_ARGS = (
    "activation_checkpointing",
    "gradient_checkpointing",
)  # the second is the name before transformers 5.24
METHOD_COLUMNS = {
    "sft": ["messages", "tools"],
    "dpo": ["prompt", "chosen", "rejected", "tools"],
    "orpo": ["prompt", "chosen", "rejected", "tools"],
    "kto": ["prompt", "completion", "label", "tools"],
    "grpo": ["prompt", "ground_truth", "extra"],
}
# defaults of Unsloth to keep: its SFT loss equals TRL's chunked one, with its own kernels
UNSLOTH_DEFAULTS = {"SFTConfig": ("loss_type",)}


def trl_class(name: str) -> Any:
    """A class of TRL by name. ORPO is in `trl.experimental`, whose warning is silenced."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault(
        "HF_HUB_DISABLE_TELEMETRY", "1"
    )  # else TRL reports to the Hub what is trained, and waits for it
    if name.startswith("ORPO"):
        from trl.experimental import orpo as module
    else:
        import trl as module
    return getattr(module, name)


def make_config(where: str, step: ResolvedStep, output_dir: str) -> Config:
    """TRL's config of a step. Raises Problems if TRL refuses the args. where: names the step in an error."""
    import torch

    forced = {
        "output_dir": output_dir,
        "report_to": "none",  # else it logs to every installed tracker; `stages/training/trackers.py` sets them
        "seed": step["seed"],
        "disable_tqdm": True,  # `stages/train.py` shows the progress
        "save_strategy": "no",  # `stages/training/checkpoints.py` saves
        "logging_nan_inf_filter": False,  # `stages/training/failures.py` stops instead
    }
    kind = trl_class(CONFIG_CLASSES[step["method"]])
    if not torch.cuda.is_available():
        # TRL's defaults are bf16 and checkpointing, which are slow or missing on a CPU
        forced |= {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False}
        if "LOCAL_RANK" in os.environ:
            # else the device of one process of several is `cpu:0`, onto which torch reads no checkpoint
            os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
        names = [name for name in CHECKPOINTING_ARGS if name in kind.__dataclass_fields__]
        if not step["args"].keys() & names:
            forced[names[0]] = False
    if step["method"] == "sft":
        forced["assistant_only_loss"] = True  # else the prompts are trained too
    try:
        return kind(**(trl_defaults(kind, step["args"]) | forced | step["args"]))
    except (TypeError, ValueError) as error:
        raise Problems(
            [
                Problem(
                    where,
                    f"TRL refuses these args: {error}",
                    "values that work together",
                    f"see TRL's documentation of {CONFIG_CLASSES[step['method']]}",
                )
            ]
        ) from None


def trl_defaults(kind: Any, args: dict[str, Any]) -> dict[str, object]:
    """TRL's own defaults, to pass to the subclass by which Unsloth replaces a config; {} for TRL's own class.

    Unsloth's defaults are 4 rows a batch, two batches a step, and 8-bit AdamW at 5e-5 with warm-up and decay; preflight has
    announced TRL's.
    """
    own = original_class(kind)
    if own is kind:
        return {}
    defaults = {}
    for field in dataclasses.fields(own):
        if field.init and field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.init and field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    for name in UNSLOTH_DEFAULTS.get(own.__name__, ()):
        defaults.pop(name)
    if defaults.get("epsilon_high", ...) is None:
        defaults["epsilon_high"] = args.get("epsilon", defaults["epsilon"])  # as TRL does; Unsloth would use 0.28
    return defaults


def original_class(kind: Any) -> Any:
    """TRL's own class of a config that Unsloth may have replaced by a subclass."""
    while "_unsloth_patched_rl_config" in vars(kind):
        kind = kind.__mro__[1]
    return kind


def trainer_class(method: str) -> Any:
    """TRL's trainer of a method, made to accept rows of `stages/training/trainer_rows.py`.

    SFT accepts `input_ids` and `labels` unchanged. The other trainers would render and tokenise rows again, by their own
    rules: tests/test_trl.py holds what is replaced here against TRL.
    """
    trainer = trl_class(f"{method.upper()}Trainer")
    if method in ("sft", "grpo"):
        return trainer

    class Prepared(trainer):
        def _prepare_dataset(
            self, dataset: "Dataset", processing_class: Any, args: Config, dataset_name: str
        ) -> "Dataset":
            if method == "kto" and self.calculate_KL:
                # TRL pairs each answer of a batch with another row's prompt
                columns = [name for name in ("completion_ids", "completion_labels") if name in dataset.column_names]
                return dataset.map(
                    lambda rows: {f"KL_{name}": [rows[name][-1], *rows[name][:-1]] for name in columns},
                    batched=True, batch_size=args.per_device_train_batch_size,
                )  # fmt: skip
            return dataset

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            # else transformers drops the columns
            self._signature_columns += [name for name in MASKED.get(method, ()) if name not in self._signature_columns]

        def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
            return {}  # of ORPO: the rows have their columns already

    Prepared.__name__ = trainer.__name__  # what TRL writes into model cards
    return Prepared
