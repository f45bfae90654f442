"""What is unusual in a dataset as a whole though each row is right. Nothing is rejected for it; `validate` prints it.

repeated_warning("sft", 1000, 700) -> [("sft.repeated_prompts", "30.0% of 1,000 prompts repeat an earlier one")]
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

BALANCE_RANGE = (1, 4 / 3)  # TRL's guide of KTO: desirable_weight * true rows / (undesirable_weight * false rows)
# several answers to one prompt are what preference and kto data are made of
MAX_REPEATED_SHARE = {"sft": 0.1, "preference": 0.75, "kto": 0.75, "grpo": 0.1}


def shared_warnings(kind: str) -> dict[str, str]:
    """{warning: what it asks} of every kind."""
    return {
        f"{kind}.mojibake": "no text was read in a wrong encoding: U+FFFD, C1 control characters, `â€`",
        f"{kind}.repeated_prompts": f"at most {MAX_REPEATED_SHARE[kind]:.0%} of prompts repeat the prompt of an earlier row",
    }


def mojibake_warning(kind: str, rows: "pl.DataFrame") -> list[tuple[str, str]]:
    count = int(rows["mojibake"].sum())
    text = f"{count:,} of {len(rows):,} rows have text that was read in a wrong encoding"
    return [(f"{kind}.mojibake", text)] if count else []


def repeated_prompts_warning(kind: str, rows: int, prompts: int) -> list[tuple[str, str]]:
    share = 1 - prompts / rows if rows else 0
    text = f"{share:.1%} of {rows:,} prompts repeat an earlier one"
    return [(f"{kind}.repeated_prompts", text)] if share > MAX_REPEATED_SHARE[kind] else []


def imbalance(true: float, false: float) -> float:
    """How far the weights of two classes are from what TRL advises: up to 1 they are within it."""
    low, high = BALANCE_RANGE
    if not true or not false:
        return float("inf")
    return max(low * false / true, true / false / high)


def weights_advice(true: float, false: float, desirable: float = 1.0, undesirable: float = 1.0) -> str:
    """The weights to set for so many rows of each label, from the lowest that TRL advises to the highest."""
    text = f"set desirable_weight {weight_range(false * undesirable / true)} or undesirable_weight"
    return f"{text} {weight_range(true * desirable / false / BALANCE_RANGE[1])} in the step's args, not both"


def weight_range(low: float) -> str:
    return f"{low:.2f} to {low * BALANCE_RANGE[1]:.2f}"
