"""What travels between the parts of a training: the step as preflight resolved it, messages, rows.

    {"step": "align", "method": "dpo", "from": "sft", "dataset": "pairs", "args": {...}, "optimizer_steps": 468, ...}

TRL has one config and one trainer per method, each with fields of its own, and Unsloth replaces both: they are `Any` here.
"""

from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

ChatMessage = dict[
    str, Any
]  # as chat templates read it: a key that holds nothing is not there, `tool_calls` are objects
Tools = list[dict[str, Any]]  # definitions of tools, as JSON schemas
TrainerRow = dict[str, Any]  # what TRL is given of a row: see `trainer_rows.py`
RewardFunction = Callable[..., list[float | None]]  # a value for each answer, None where the function does not apply
Config = Any  # TRL's config of a method
Trainer = Any  # TRL's trainer of a method; `exposure`, `rollouts` and `thoughts` are attached to it
Tokenizer = Any  # transformers' fast tokenizer: what its methods return depends on their arguments

# kept: the prompts that `keep` has kept, which only `train` knows. length: percentiles and the maximum of the rows' tokens.
ResolvedStep = TypedDict(
    "ResolvedStep",
    {
        "step": str,
        "method": str,
        "from": str,
        "dataset": str,
        "seed": int,
        "backend": str,
        "args": dict[str, Any],
        "lora": dict[str, Any] | None,
        "load_in_4bit": bool,
        "overlong": str,
        "reasoning": str,
        "processes": int,
        # of grpo
        "rewards": NotRequired[list[str]],
        "reward_code": NotRequired[dict[str, str]],
        "tie_prompts": NotRequired[int],
        "rollouts": NotRequired[dict[str, int] | None],
        "difficulty": NotRequired[bool],
        "kept": NotRequired[dict[str, Any]],
        # of sft
        "learns": NotRequired[str],
        "packed_rows": NotRequired[int],
        # counted by preflight
        "rows": NotRequired[int],
        "trained_rows": NotRequired[int],
        "sequences": NotRequired[int],
        "tokens": NotRequired[int],
        "learned_tokens": NotRequired[int],
        "optimizer_steps": NotRequired[int],
        "length": NotRequired[dict[str, int]],
    },
)
