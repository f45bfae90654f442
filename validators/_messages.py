"""Messages as a flat table, and the pandera schema that every kind of dataset asks of them.

One row a message: {row: 7, column: "messages", turn: 2, role: "assistant", content: "cba", calls: null, follows:
"user>assistant", last: true}. Flat columns make pandera's checks vectorised; `row` leads back to the dataset's row.
"""

import pandera.polars as pa
import polars as pl
import pyarrow.compute as pc
from pandera.errors import SchemaErrors

ROLES = ["system", "user", "assistant", "tool"]
# what may follow what; "" is the beginning
ORDER = [
    ">system",
    ">user",
    "system>user",
    "user>assistant",
    "assistant>user",
    "assistant>tool",
    "tool>tool",
    "tool>assistant",
]


def flatten(messages, column, begins=""):
    """The flat table of one column of messages.

    messages: Arrow list<struct<role, content, tool_calls>>, (n,). begins: the role before the first message, for an
    answer "user". Returns a polars frame, one row a message.
    """
    messages = messages.combine_chunks()
    turns = pc.list_flatten(messages)
    frame = pl.DataFrame(
        {
            "row": pc.list_parent_indices(messages).to_numpy(),
            "role": pl.from_arrow(pc.struct_field(turns, "role")),
            "content": pl.from_arrow(pc.struct_field(turns, "content")),
            "calls": pl.from_arrow(pc.struct_field(turns, "tool_calls").storage),
        }
    )
    before, after = pl.col("row").shift(1), pl.col("row").shift(-1)
    first = before.is_null() | (before != pl.col("row"))
    return frame.with_columns(
        column=pl.lit(column),
        turn=pl.int_range(pl.len()).over("row"),
        follows=pl.when(first).then(pl.lit(begins)).otherwise(pl.col("role").shift(1)) + ">" + pl.col("role"),
        last=after.is_null() | (after != pl.col("row")),
        # an assistant that only calls a tool says nothing, which is not an empty answer
        content=pl.when(pl.col("calls").is_not_null() & ~pl.col("content").fill_null("").str.contains(r"\S"))
        .then(pl.lit("(call)"))
        .otherwise(pl.col("content").fill_null("")),
    )


def check(name, rule):
    """A pandera check whose failures carry its stable name."""
    return rule(error=name)


def isin(values):
    return lambda error: pa.Check.isin(values, error=error)


def matches(pattern):
    return lambda error: pa.Check.str_matches(pattern, error=error)


def is_true(error):
    return pa.Check.eq(True, error=error)


def message_schema(kind):
    """The schema of a flat table of messages: known roles, non-empty turns, an order that a template can render."""
    return pa.DataFrameSchema(
        {
            "role": pa.Column(str, check(f"{kind}.known_roles", isin(ROLES))),
            "content": pa.Column(str, check(f"{kind}.non_empty_turns", matches(r"(?s).*\S"))),
            "follows": pa.Column(str, check(f"{kind}.roles_alternate", isin(ORDER))),
        }
    )


def failures(schema, frame):
    """(index, check) of every failing row of a frame, all checks at once.

    Raises AssertionError where the frame itself does not fit the schema: that is a fault of ours, not of the data.
    """
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases.select("index", "check")
        if cases["index"].null_count():
            raise AssertionError(
                f"the table does not have the columns that its schema checks: {errors.failure_cases}"
            ) from None
        return cases
    return pl.DataFrame(schema={"index": pl.Int32, "check": pl.String})


def turn_failures(schema, frame):
    """(row, check, detail) of every failing message."""
    found = failures(schema, frame)
    return (
        frame.with_row_index("index")
        .with_columns(pl.col("index").cast(pl.Int32))
        .join(found, on="index")
        .select(pl.col("row").cast(pl.Int64), "check", detail=pl.format("{}[{}] by '{}'", "column", "turn", "role"))
    )


def row_failures(schema, frame):
    """(row, check, detail) of every failing row of a table with one row a record."""
    return failures(schema, frame).select(
        pl.col("index").cast(pl.Int64).alias("row"), "check", detail=pl.lit("the row")
    )


def empty_failures(messages, check, column):
    """(row, check, detail) of every row whose list of messages is empty: nothing of it is in the flat table."""
    lengths = pl.DataFrame({"length": pl.from_arrow(pc.list_value_length(messages.combine_chunks()))})
    empty = pa.DataFrameSchema({"length": pa.Column(pl.Int32, pa.Check.gt(0, error=check))})
    return row_failures(empty, lengths).with_columns(detail=pl.lit(f"{column} has no message"))


def ends_with(frame, roles):
    """True in the last message of each conversation if its role is one of `roles`; elsewhere true."""
    return frame.select(~pl.col("last") | pl.col("role").is_in(roles)).to_series()
