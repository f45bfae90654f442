"""Cautions: a value of a step outside the usual range, or a common mistake. Either may be intended.

A step waives a caution by name, with a reason. The report shows it: `waive: {learning_rate: "a tiny model"}`.
Usual ranges: the guides of TRL and Unsloth.
"""

from dataclasses import dataclass
from typing import Any, TypeGuard

PARAMS_FILE = "params.yaml"
KIND_OF_METHOD = {"sft": "sft", "dpo": "preference", "orpo": "preference", "kto": "kto", "grpo": "grpo"}
RANGES = {  # waiver: (key in args, low, high); per method where it matters
    "beta": ("beta", 0.01, 0.5),
    "num_generations": ("num_generations", 4, 8),
    "max_completion_length": ("max_completion_length", 128, 512),
    "num_train_epochs": ("num_train_epochs", 1, 3),
    "batch_size": ("per_device_train_batch_size", 1, 8),
}
LEARNING_RATES = {
    "sft": (1e-5, 5e-4),
    "dpo": (1e-6, 5e-5),
    "orpo": (1e-6, 5e-5),
    "kto": (1e-6, 5e-5),
    "grpo": (1e-6, 1e-5),
}
WAIVERS = [*RANGES, "learning_rate", "lora_rank", "no_sft"]
# an entry of params.yaml as plain data. Before `check` has read it, any key may be missing or hold anything.
Entry = dict[str, Any]


def caution_text(where: str, name: str, message: str, waived: str | None) -> str:
    """The line that a user sees: with the reason of the waiver, or with a hint on how to waive it."""
    text = f"{PARAMS_FILE}: {where}: {message}"
    if waived is not None:
        return f"{text} ({waived})"
    return f"{text}\n  hint: waive: {{{name}: your reason}}"


@dataclass(frozen=True)
class Caution:
    """A value outside the usual range, or a common mistake. A step waives it by `name`."""

    step: str
    name: str
    message: str
    waived: str | None = None

    def __str__(self) -> str:
        return caution_text(f"steps.{self.step}", self.name, self.message, self.waived)


@dataclass(frozen=True)
class FileCaution:
    """Files of a dataset whose names look like test data, but whose rows would be trained on."""

    dataset: str
    files: list[str]
    pattern: str  # matches the first of the files
    waived: None = None

    def __str__(self) -> str:
        some = ", ".join(self.files[:3]) + f" and {len(self.files) - 3:,} more" * (len(self.files) > 3)
        text = f"{PARAMS_FILE}: datasets.{self.dataset}: rows of {some} would be trained on, though the name says that they are for a test"
        name = f'"{self.pattern}"'
        return f"{text}\n  hint: eval: [{name}] to score on them alone, exclude: [{name}] to leave them out, or eval: [] to train on them"


@dataclass(frozen=True)
class UnusedWaiver:
    """A waiver of a caution that the step does not have. Most come with a YAML anchor. It would hide a later caution."""

    step: str
    name: str
    waived: None = None

    def __str__(self) -> str:
        return (
            f"{PARAMS_FILE}: steps.{self.step}: waive.{self.name} waives nothing in this step\n"
            f"  hint: remove it; if it came along by <<, give the step its own: waive: {{}}"
        )


def ancestry(name: str, steps: dict[str, Entry]) -> list[str]:
    """The step, the step it starts from, and so on. Ends at base, at an unknown name, or at the first repeated name."""
    chain = [name]
    while (parent := steps.get(chain[-1], {}).get("from")) is not None:
        chain.append(parent)
        if parent in chain[:-1]:
            break
    return chain


def step_cautions(name: str, step: Entry, steps: dict[str, Entry]) -> list[Caution]:
    """The cautions of a step, waived or not."""
    method, waive = step.get("method"), step.get("waive") or {}
    if method not in KIND_OF_METHOD:
        return []
    args, cautions = step.get("args") or {}, []
    ranges = RANGES | {"learning_rate": ("learning_rate", *LEARNING_RATES[method])}
    for waiver, (key, low, high) in ranges.items():
        if is_number(args.get(key)) and not low <= args[key] <= high:
            cautions.append((waiver, f"{key} {args[key]:g} is outside the usual {low:g} to {high:g} for {method}"))
    rank = (step.get("lora") or {}).get("r")
    if is_number(rank) and not 8 <= rank <= 64:
        cautions.append(("lora_rank", f"lora.r {rank} is outside the usual 8 to 64"))
    if method in ("dpo", "kto") and not any(
        steps.get(parent, {}).get("method") in ("sft", "orpo") for parent in ancestry(name, steps)[1:]
    ):
        cautions.append(
            (
                "no_sft",
                f"{method} from a model that no step has supervised; right only where `base` is an instruct model",
            )
        )
    return [Caution(name, waiver, message, waive.get(waiver)) for waiver, message in cautions]


def unused_waivers(name: str, step: Entry, steps: dict[str, Entry]) -> list[UnusedWaiver]:
    """Waivers of cautions that the step does not have. Waivers of preflight's findings are not judged here."""
    needed = {caution.name for caution in step_cautions(name, step, steps)}
    given = step.get("waive") or {}
    return [UnusedWaiver(name, waiver) for waiver in given if waiver in WAIVERS and waiver not in needed]


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
