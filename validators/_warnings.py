"""Warnings about a dataset as a whole, whose rows are each valid. `validate` prints them; nothing is rejected.

repeated_prompts_warning("sft", 1000, 700) -> [("sft.repeated_prompts", "30.0% of 1,000 prompts repeat an earlier one")]
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

BALANCE_RANGE = (1, 4 / 3)  # TRL's guide of KTO: desirable_weight * true rows / (undesirable_weight * false rows)
PLACEHOLDER_SHARE = 0.02  # of the rows; in fewer, code or templates are what is written about
TRANSCRIPT_SHARE = 0.05  # of the rows; fewer may be about conversations
# preference and kto data have several answers to one prompt by nature
MAX_REPEATED_SHARE = {"sft": 0.1, "preference": 0.75, "kto": 0.75, "grpo": 0.1}


def shared_warnings(kind: str) -> dict[str, str]:
    """{warning: what is usual} of every kind."""
    return {
        f"{kind}.mojibake": "no text was read in a wrong encoding: U+FFFD, C1 control characters, `â€`",
        f"{kind}.placeholders": f"under {PLACEHOLDER_SHARE:.0%} of rows have one and the same `{{{{name}}}}`, which a template should have filled",
        f"{kind}.transcripts": f"under {TRANSCRIPT_SHARE:.0%} of rows have turns of both roles in one text, as `User: ... Assistant: ...`",
        f"{kind}.repeated_prompts": f"at most {MAX_REPEATED_SHARE[kind]:.0%} of prompts repeat the prompt of an earlier row",
    }


def text_warnings(kind: str, rows: "pl.DataFrame", prompts: int) -> list[tuple[str, str]]:
    """[(name, text)] of the warnings that every kind has. rows: see `measure_texts`. prompts: how many different ones there are."""
    return [
        *mojibake_warning(kind, rows),
        *placeholders_warning(kind, rows),
        *transcripts_warning(kind, rows),
        *repeated_prompts_warning(kind, len(rows), prompts),
    ]


def placeholders_warning(kind: str, rows: "pl.DataFrame") -> list[tuple[str, str]]:
    """[(name, text)] where many rows have the same placeholder; else []."""
    counts = sorted(rows["placeholder"].drop_nulls().value_counts().iter_rows(), key=lambda row: (-row[1], row[0]))
    many = [(name, count) for name, count in counts if count > 1 and count >= PLACEHOLDER_SHARE * len(rows)]
    named = ", ".join(f"{name} in {count:,}" for name, count in many)
    text = f"{named} of {len(rows):,} rows: fill these placeholders in the raw data, or a model learns to say them"
    return [(f"{kind}.placeholders", text)] if many else []


def transcripts_warning(kind: str, rows: "pl.DataFrame") -> list[tuple[str, str]]:
    """[(name, text)] where many rows have the turns of a conversation in one text; else []."""
    count = int(rows["transcript"].sum())
    text = f"{count:,} of {len(rows):,} rows have turns of both roles in one text, as `User: ... Assistant: ...`: write each as a message of its own, or"
    text += " none of them is learned as a turn"
    return [(f"{kind}.transcripts", text)] if count > 1 and count >= TRANSCRIPT_SHARE * len(rows) else []


def mojibake_warning(kind: str, rows: "pl.DataFrame") -> list[tuple[str, str]]:
    """[(name, text)] where rows were read in a wrong encoding; else []."""
    count = int(rows["mojibake"].sum())
    text = f"{count:,} of {len(rows):,} rows have text that was read in a wrong encoding"
    return [(f"{kind}.mojibake", text)] if count else []


def repeated_prompts_warning(kind: str, rows: int, prompts: int) -> list[tuple[str, str]]:
    """[(name, text)] where more prompts repeat than is usual; else []. prompts: how many different ones there are."""
    share = 1 - prompts / rows if rows else 0
    text = f"{share:.1%} of {rows:,} prompts repeat an earlier one"
    return [(f"{kind}.repeated_prompts", text)] if share > MAX_REPEATED_SHARE[kind] else []


def imbalance(true: float, false: float) -> float:
    """How far the weights of two classes are from TRL's advice: up to 1 they follow it."""
    low, high = BALANCE_RANGE
    if not true or not false:
        return float("inf")
    return max(low * false / true, true / false / high)


def weights_advice(true: float, false: float, desirable: float = 1.0, undesirable: float = 1.0) -> str:
    """The weights to set for these numbers of rows, as ranges that TRL advises."""
    text = f"set desirable_weight {weight_range(false * undesirable / true)} or undesirable_weight"
    return f"{text} {weight_range(true * desirable / false / BALANCE_RANGE[1])} in the step's args, not both"


def weight_range(low: float) -> str:
    """The range of weights from the lowest one that TRL advises, as text."""
    return f"{low:.2f} to {low * BALANCE_RANGE[1]:.2f}"
