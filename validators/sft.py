"""What makes a supervised row right: a conversation that the template can render and that ends with an answer.

{"messages": [{"role": "user", "content": "Reverse abc."}, {"role": "assistant", "content": "cba"}]}
"""

import polars as pl

from validators._messages import (
    empty_failures,
    ends_with,
    flatten,
    message_schema,
    mojibake,
    shared_checks,
    turn_failures,
)
from validators._warnings import mojibake_warning, repeated_warning, shared_warnings

CHECKS = shared_checks("sft", order=", the user first") | {
    "sft.ends_with_assistant": "the last turn is the assistant's"
}
WARNINGS = shared_warnings("sft")
SCHEMA = message_schema("sft", ends="sft.ends_with_assistant")


def failing(table):
    """(row, check, detail) of every failure in a table of sft rows."""
    turns = flatten(table["messages"], "messages")
    return pl.concat(
        [
            turn_failures(SCHEMA, turns.with_columns(ends=ends_with(turns, ["assistant"]))),
            empty_failures(table["messages"], "sft.ends_with_assistant", "messages"),
        ]
    )


def measured(table):
    """What `warnings_of` needs to know of each row of a table."""
    return pl.DataFrame({"mojibake": mojibake(table, ["messages"])})


def warnings_of(rows, prompts):
    """(name, what is unusual) of a whole dataset.

    rows: what `measured` gave of every row that passed. prompts: how many different prompts they have.
    """
    return [*mojibake_warning("sft", rows), *repeated_warning("sft", len(rows), prompts)]
