"""TRL's configs and trainers by method, with the settings without which they go wrong here.

Each setting that is forced stands with its trap; everything else is TRL's default or the step's `args`.
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
)  # the second is a name of before transformers 5.24
METHOD_COLUMNS = {
    "sft": ["messages", "tools"],
    "dpo": ["prompt", "chosen", "rejected", "tools"],
    "orpo": ["prompt", "chosen", "rejected", "tools"],
    "kto": ["prompt", "completion", "label", "tools"],
    "grpo": ["prompt", "ground_truth", "extra"],
}
# defaults of Unsloth's that stay: its loss of SFT is TRL's, in pieces too, by kernels of its own
UNSLOTH_DEFAULTS = {"SFTConfig": ("loss_type",)}


def trl_class(name: str) -> Any:
    """A class of TRL's by its name; ORPO lives among its experiments, and says so once is enough."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else TRL tells the Hub what is trained, and waits for it
    if name.startswith("ORPO"):
        from trl.experimental import orpo as module
    else:
        import trl as module
    return getattr(module, name)


def make_config(where: str, step: ResolvedStep, output_dir: str) -> Config:
    """TRL's config of a step. What TRL refuses becomes Problems.

    step: {method, args, seed, ...} as preflight resolved it. where: names the step in an error.
    """
    import torch

    forced = {
        "output_dir": output_dir,
        "report_to": "none",  # else it logs to whatever tracker is installed; `stages/training/trackers.py` says when
        "seed": step["seed"],
        "disable_tqdm": True,  # `stages/train.py` shows the progress
        "save_strategy": "no",  # `stages/training/checkpoints.py` says when
        "logging_nan_inf_filter": False,  # `stages/training/failures.py` stops instead
    }
    kind = trl_class(CONFIG_CLASSES[step["method"]])
    if not torch.cuda.is_available():
        # TRL's defaults are bf16 and checkpointing, which a CPU does slowly or not at all
        forced |= {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False}
        names = [name for name in CHECKPOINTING_ARGS if name in kind.__dataclass_fields__]
        if not step["args"].keys() & names:
            forced[names[0]] = False
    if step["method"] == "sft":
        forced["assistant_only_loss"] = True  # else the prompts are trained as well
    try:
        return kind(**(trl_defaults(kind, step["args"]) | forced | step["args"]))
    except (TypeError, ValueError) as error:
        raise Problems(
            [
                Problem(
                    where,
                    f"TRL refuses these args: {error}",
                    "values that fit each other",
                    f"see TRL's documentation of {CONFIG_CLASSES[step['method']]}",
                )
            ]
        ) from None


def trl_defaults(kind: Any, args: dict[str, Any]) -> dict[str, object]:
    """TRL's own defaults, to be said to the subclass that Unsloth has put in a config's place; {} to TRL's own class.

    Unsloth's trains 4 rows a batch and two batches a step, by AdamW in 8 bits at 5e-5 with warm-up and decay, unless it is
    told: preflight announced TRL's.
    """
    own = original_class(kind)
    if own is kind:
        return {}
    found = {}
    for field in dataclasses.fields(own):
        if field.init and field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.init and field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    for name in UNSLOTH_DEFAULTS.get(own.__name__, ()):
        found.pop(name)
    if found.get("epsilon_high", ...) is None:
        found["epsilon_high"] = args.get("epsilon", found["epsilon"])  # what TRL takes for it; Unsloth would take 0.28
    return found


def original_class(kind: Any) -> Any:
    """TRL's own class of a config that Unsloth may have put subclasses in the place of."""
    while "_unsloth_patched_rl_config" in vars(kind):
        kind = kind.__mro__[1]
    return kind


def trainer_class(method: str) -> Any:
    """TRL's trainer of a method, taking rows as `stages/training/trainer_rows.py` makes them.

    SFT leaves `input_ids` and `labels` as they are. The others would render and tokenise rows once more, by rules of
    their own: tests/test_trl.py holds what is replaced here against TRL.
    """
    trainer = trl_class(f"{method.upper()}Trainer")
    if method in ("sft", "grpo"):
        return trainer

    class Prepared(trainer):
        def _prepare_dataset(
            self, dataset: "Dataset", processing_class: Any, args: Config, dataset_name: str
        ) -> "Dataset":
            if method == "kto" and self.calculate_KL:
                # the answers of a batch, each to another row's prompt, as TRL pairs them
                columns = [name for name in ("completion_ids", "completion_labels") if name in dataset.column_names]
                return dataset.map(
                    lambda rows: {f"KL_{name}": [rows[name][-1], *rows[name][:-1]] for name in columns},
                    batched=True, batch_size=args.per_device_train_batch_size,
                )  # fmt: skip
            return dataset

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            # else transformers takes the columns away
            self._signature_columns += [name for name in MASKED.get(method, ()) if name not in self._signature_columns]

        def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
            return {}  # ORPO's: the columns are there

    Prepared.__name__ = trainer.__name__  # what TRL writes into model cards
    return Prepared
