"""What makes a supervised row right: a conversation that the template can render and that ends with an answer.

{"messages": [{"role": "user", "content": "Reverse abc."}, {"role": "assistant", "content": "cba"}]}
"""

import pandera.polars as pa
import polars as pl

from validators._messages import check, empty_failures, ends_with, flatten, is_true, message_schema, turn_failures

CHECKS = {
    "sft.known_roles": "every role is system, user, assistant or tool",
    "sft.non_empty_turns": "every turn says something",
    "sft.roles_alternate": "after an optional system turn, user and assistant take turns, the user first",
    "sft.ends_with_assistant": "the last turn is the assistant's",
}
SCHEMA = message_schema("sft").add_columns({"ends": pa.Column(bool, check("sft.ends_with_assistant", is_true))})


def failing(table):
    """(row, check, detail) of every failure in a table of sft rows."""
    turns = flatten(table["messages"], "messages")
    return pl.concat(
        [
            turn_failures(SCHEMA, turns.with_columns(ends=ends_with(turns, ["assistant"]))),
            empty_failures(table["messages"], "sft.ends_with_assistant", "messages"),
        ]
    )
