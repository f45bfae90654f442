"""Checks of kind kto: a row is a prompt, one answer, and a label that says whether the answer is good.

{"prompt": [{"role": "user", "content": "Reverse abc."}], "completion": [{"role": "assistant", "content": "cba"}],
 "label": true}
"""

from typing import TYPE_CHECKING

import polars as pl

from validators._messages import (
    as_series,
    empty_failures,
    ends_with,
    flag_schema,
    flatten,
    measure_texts,
    message_schema,
    row_failures,
    shared_checks,
    turn_failures,
)
from validators._warnings import imbalance, shared_warnings, text_warnings, weights_advice
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    import pyarrow

CHECKS = shared_checks("kto", "every turn of the prompt and of the completion", "; the completion follows the user") | {
    "kto.prompt_ends_with_user": "the prompt's last turn is the user's or a tool's",
    "kto.ends_with_assistant": "the completion ends with the assistant's turn",
    "kto.label_present": "the label is true or false, not missing",
}
WARNINGS = {
    "kto.both_classes": "rows of both labels are there, as KTO learns from the contrast",
    "kto.class_balance": "the weight of true against false rows is 1 to 4/3, as TRL recommends; else the weights to set",
} | shared_warnings("kto")
PROMPT = message_schema("kto", ends="kto.prompt_ends_with_user")
COMPLETION = message_schema("kto", ends="kto.ends_with_assistant")
LABEL = flag_schema("labelled", "kto.label_present")


def failed_checks(table: "pyarrow.Table") -> pl.DataFrame:
    """(row, check, detail) of every failure in a table of KTO rows."""
    prompts = flatten(table["prompt"], "prompt")
    completions = flatten(table["completion"], "completion", begins="user")
    labels = pl.DataFrame({"labelled": as_series(table["label"]).is_not_null()})
    return pl.concat(
        [
            turn_failures(PROMPT, prompts.with_columns(ends=ends_with(prompts, ["user", "tool"]))),
            turn_failures(COMPLETION, completions.with_columns(ends=ends_with(completions, ["assistant"]))),
            row_failures(LABEL, labels),
            empty_failures(table["prompt"], "kto.prompt_ends_with_user", "prompt"),
            empty_failures(table["completion"], "kto.ends_with_assistant", "completion"),
        ]
    )


def measure_rows(table: "pyarrow.Table") -> pl.DataFrame:
    """What `warnings_of` reads of each row of a table."""
    labels = as_series(table["label"]).cast(pl.Boolean)
    return measure_texts(table, ["prompt", "completion"]).with_columns(label=labels)


def warnings_of(rows: pl.DataFrame, prompts: int) -> list[tuple[str, str]]:
    """(name, what is unusual) for a whole dataset: see `validators/sft.py`. Raises Problems where a class is missing."""
    return [
        *balance_warning(int(rows["label"].sum()), int((~rows["label"]).sum())),
        *text_warnings("kto", rows, prompts),
    ]


def balance_warning(true: int, false: int) -> list[tuple[str, str]]:
    """The warning with the weights to set, where one class outweighs the other; else [].

    Raises Problems where all rows have the same label.
    """
    if not true and not false:
        return []
    if not true or not false:
        found = f"all {true + false:,} rows have label {str(bool(true)).lower()}"
        hint = "KTO learns from the contrast: add rows of the other label, or train with sft on the good ones"
        raise Problems([Problem("kto.both_classes", found, "rows with label true and rows with label false", hint)])
    if imbalance(true, false) <= 1:
        return []
    return [("kto.class_balance", f"{true:,} true and {false:,} false rows; {weights_advice(true, false)}")]
