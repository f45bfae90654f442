"""Checks of kind grpo: a row is a prompt to answer, and the ground truth that a reward function compares with.

{"prompt": [{"role": "user", "content": "Reverse abc."}], "ground_truth": "cba", "extra": "{}"}
"""

from typing import TYPE_CHECKING

import polars as pl

from validators._messages import (
    empty_failures,
    ends_with,
    flatten,
    measure_texts,
    message_schema,
    named_check,
    row_failures,
    shared_checks,
    turn_failures,
)
from validators._pandera import pa
from validators._warnings import shared_warnings, text_warnings

if TYPE_CHECKING:
    import pyarrow

CHECKS = shared_checks("grpo", "every turn of the prompt", ", the user first") | {
    "grpo.prompt_ends_with_user": "the prompt's last turn is the user's or a tool's",
    "grpo.ground_truth_present": "the ground truth is there: not blank, NaN, null or an empty list",
}
WARNINGS = shared_warnings("grpo")
PROMPT = message_schema("grpo", ends="grpo.prompt_ends_with_user")
# what data frames and JSON write for a missing value, alone or as the only items of a list
BLANK_TRUTH = r"(?i)^\s*(?:nan|null|<na>|\[(?:\s|,|nan|null|\"\s*\")*\]|\{\s*\}|\"\s*\")?\s*$"
TRUTH_PRESENT = named_check("grpo.ground_truth_present", ~pl.col("ground_truth").str.contains(BLANK_TRUTH))
TRUTH = pa.DataFrameSchema({"ground_truth": pa.Column(str, TRUTH_PRESENT)})


def failed_checks(table: "pyarrow.Table") -> pl.DataFrame:
    """(row, check, detail) of every failure in a table of GRPO rows."""
    prompts = flatten(table["prompt"], "prompt")
    truths = pl.DataFrame({"ground_truth": pl.from_arrow(table["ground_truth"]).fill_null("")})
    return pl.concat(
        [
            turn_failures(PROMPT, prompts.with_columns(ends=ends_with(prompts, ["user", "tool"]))),
            row_failures(TRUTH, truths),
            empty_failures(table["prompt"], "grpo.prompt_ends_with_user", "prompt"),
        ]
    )


def measure_rows(table: "pyarrow.Table") -> pl.DataFrame:
    """What `warnings_of` reads of each row of a table."""
    return measure_texts(table, ["prompt"])


def warnings_of(rows: pl.DataFrame, prompts: int) -> list[tuple[str, str]]:
    """(name, what is unusual) for a whole dataset: see `validators/sft.py`."""
    return text_warnings("grpo", rows, prompts)
