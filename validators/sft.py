"""Checks of kind sft: a row is a conversation that a template can render and that ends with an answer.

{"messages": [{"role": "user", "content": "Reverse abc."}, {"role": "assistant", "content": "cba"}]}
"""

from typing import TYPE_CHECKING

import polars as pl
import pyarrow.compute as pc

from validators._messages import (
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
from validators._warnings import shared_warnings, text_warnings

if TYPE_CHECKING:
    import pyarrow

CHECKS = shared_checks("sft", order=", the user first") | {
    "sft.ends_with_assistant": "the last turn is the assistant's",
    "sft.something_learned": "not all turns of the assistant's are marked as not to be learned",
}
WARNINGS = shared_warnings("sft")
LEARNED = flag_schema("learned", "sft.something_learned")
SCHEMA = message_schema("sft", ends="sft.ends_with_assistant")


def failed_checks(table: "pyarrow.Table") -> pl.DataFrame:
    """(row, check, detail) of every failure in a table of sft rows."""
    turns = flatten(table["messages"], "messages")
    return pl.concat(
        [
            turn_failures(SCHEMA, turns.with_columns(ends=ends_with(turns, ["assistant"]))),
            empty_failures(table["messages"], "sft.ends_with_assistant", "messages"),
            *unlearned_failures(table["messages"].combine_chunks()),
        ]
    )


def unlearned_failures(messages: "pyarrow.ListArray") -> list[pl.DataFrame]:
    """(row, check, detail) of every row in which no assistant turn is learned, as a list of one frame or none."""
    turns = pc.list_flatten(messages)
    names = [field.name for field in turns.type]
    marks = pc.struct_field(turns, "train") if "train" in names else None
    if marks is None or marks.null_count == len(marks):
        return []
    frame = pl.DataFrame(
        {
            "row": pc.list_parent_indices(messages).to_numpy(),
            "answer": pl.from_arrow(pc.struct_field(turns, "role")) == "assistant",
            "learned": pl.from_arrow(marks).fill_null(True),
        }
    )
    answers = frame.filter("answer").group_by("row").agg(pl.col("learned").any())
    rows = pl.DataFrame({"row": range(len(messages))}, schema={"row": frame.schema["row"]})
    learned = rows.join(answers, on="row", how="left", maintain_order="left").select(pl.col("learned").fill_null(True))
    return [row_failures(LEARNED, learned)]


def measure_rows(table: "pyarrow.Table") -> pl.DataFrame:
    """What `warnings_of` reads of each row of a table."""
    return measure_texts(table, ["messages"])


def warnings_of(rows: pl.DataFrame, prompts: int) -> list[tuple[str, str]]:
    """(name, what is unusual) for a whole dataset.

    rows: `measure_rows` of all rows that passed. prompts: the number of different prompts.
    """
    return text_warnings("sft", rows, prompts)
