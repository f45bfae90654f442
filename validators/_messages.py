"""Messages as a flat table, and the pandera schema that they must fit in every kind of dataset.

One row a message: {row: 7, column: "messages", turn: 2, role: "assistant", content: "cba", calls: null, follows:
"user>assistant", last: true, printable: true, length: 3, total: 14}. Flat columns make pandera's checks vectorised;
`row` is the number of the dataset's row. `total` is the length of the whole conversation in its last message, elsewhere 0.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
import pyarrow.compute as pc

from validators._pandera import SchemaErrors, pa

if TYPE_CHECKING:
    import pyarrow

ROLES = ["system", "user", "assistant", "tool"]
# which role may follow which; "" is the beginning
ALLOWED_ORDER = [
    ">system",
    ">user",
    "system>user",
    "user>assistant",
    "assistant>user",
    "assistant>tool",
    "tool>tool",
    "tool>assistant",
]
# far above any model's context (about 250,000 and 1,000,000 tokens of English). A longer text is a file that was pasted or
# concatenated by mistake; the tokenizer would spend minutes on it before training cuts it.
MAX_TURN_CHARACTERS = 1_000_000
MAX_CONVERSATION_CHARACTERS = 4_000_000
# what templates write between turns. In a turn's own text it shows that a template was applied twice, and a tokenizer
# turns it into the control token. `<s>` and `</s>` are not listed: they are HTML for struck-through text.
TEMPLATE_TOKENS = [
    *("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>"),  # ChatML, Qwen, GPT
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),  # Llama 2, Mistral
    *("<start_of_turn>", "<end_of_turn>"),  # Gemma
    *("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|call|>", "<|end|>", "<|pad|>"),  # Phi, Zephyr, tiny
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),  # DeepSeek
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),  # Command
]
# a tool call as text in the content, as Hermes and others write it
WRITTEN_CALL = r"""<tool_call|<function|["']name["']\s*:"""
PIECE_BYTES = 2**18
PLACEHOLDER = r"(\{\{ ?[A-Za-z_]{3,30} ?\}\})"  # {{name}}; LaTeX has shorter ones
# turns that are written into one text: `<user>: ... <bot>: ...`, `[|Human|] ... [|AI|] ...`, `User: ... Assistant: ...`
ANSWERING = ("ssistant", "<bot>", "[|AI|]", "SSISTANT:")  # literals, one by one: several at once are three times slower
ASKED = r"(?:<(?:user|human)>|\[\|Human\|\]|\b(?:[Uu]ser|USER|[Hh]uman|HUMAN)[:：])"
ANSWERED = r"(?:<(?:bot|assistant)>|\[\|AI\|\]|\b(?:[Aa]ssistant|ASSISTANT)[:：])"
TRANSCRIPT = f"(?s){ASKED}.*{ANSWERED}"
CONTROL_CHARACTER = r"([\x00-\x08\x0b\x0c\x0e-\x1f\x7f])"


def shared_checks(kind: str, turns: str = "every turn", order: str = "") -> dict[str, str]:
    """{check: what it asks} of every table of messages. turns, order: words for the kind's turns and their order."""
    return {
        f"{kind}.known_roles": "every role is system, user, assistant or tool",
        f"{kind}.non_empty_turns": f"{turns} says something",
        f"{kind}.no_control_characters": "no turn has control characters other than line ends and tabs",
        f"{kind}.turn_length": f"every turn has at most {MAX_TURN_CHARACTERS:,} characters",
        f"{kind}.conversation_length": f"the turns have at most {MAX_CONVERSATION_CHARACTERS:,} characters together",
        f"{kind}.no_template_tokens": "no turn holds a chat template's own marks, such as <|im_start|> or [INST]",
        f"{kind}.tool_follows_call": "what a tool found stands behind a turn in which the assistant calls one",
        f"{kind}.roles_alternate": f"after an optional system turn, user and assistant take turns{order}",
    }


def spoken_text(turns: "pyarrow.StructArray") -> "pyarrow.StringArray":
    """The text of each message, thought first, (n,) Arrow strings; null where there is none. turns: structs, (n,)."""
    content, names = pc.struct_field(turns, "content"), [field.name for field in turns.type]
    thought = pc.struct_field(turns, "reasoning_content") if "reasoning_content" in names else None
    if thought is None or thought.null_count == len(thought):
        return content
    # the join is null where either is null; null_handling="skip" of pyarrow 26 drops the row itself where both are
    return pc.coalesce(pc.binary_join_element_wise(thought, content, "\n"), thought, content)


def as_series(values: "pyarrow.Array | pyarrow.ChunkedArray") -> pl.Series:
    """An Arrow array as a polars series. Typed: `from_arrow` returns a frame for a table."""
    return cast(pl.Series, pl.from_arrow(values))


def flatten(messages: "pyarrow.ChunkedArray", column: str, begins: str = "") -> pl.DataFrame:
    """The flat table of one column of messages.

    messages: Arrow list<struct<role, content, tool_calls>>, (n,). begins: the role before the first message, for an
    answer "user". Returns a polars frame, one row a message.
    """
    lists = messages.combine_chunks()
    turns = pc.list_flatten(lists)
    content, spoken = pc.struct_field(turns, "content"), spoken_text(turns)
    row = pc.list_parent_indices(lists).to_numpy()
    first = np.r_[True, row[1:] != row[:-1]][: len(row)]
    begin = np.flatnonzero(first)[np.cumsum(first) - 1]  # for each message, the first of its conversation
    frame = pl.DataFrame(
        {
            "row": row,
            "turn": np.arange(len(row)) - begin,
            "role": pl.from_arrow(pc.struct_field(turns, "role")),
            "content": pl.from_arrow(content).fill_null(""),
            "spoken": pl.from_arrow(spoken).fill_null(""),
            "calls": pl.from_arrow(pc.struct_field(turns, "tool_calls").storage),
            "printable": ~texts_matching(spoken, _control_positions),
            "last": np.r_[first[1:], True][: len(row)],
        }
    )
    tools = pl.col("role") == "tool"
    frame = frame.with_columns(called=pl.lit(True))
    if frame["calls"].null_count() < len(frame) or (frame["role"] == "tool").any():
        # an assistant's turn that only calls a tool is no empty answer, and a tool may return nothing
        silent = (pl.col("calls").is_not_null() | tools) & ~pl.col("content").str.contains(r"\S")
        calls = pl.col("calls").is_not_null() | pl.col("content").str.contains(WRITTEN_CALL)
        before = (
            pl.when(tools).then(None).otherwise(calls).forward_fill().shift(1)
        )  # of the last turn before that is not a tool's
        frame = frame.with_columns(
            content=pl.when(silent).then(pl.lit("(call)")).otherwise("content"),
            called=~tools | (pl.col("turn") == 0) | before,
        )
    length = frame["spoken"].str.len_chars().cast(pl.Int64)
    through = np.cumsum(length.to_numpy())
    return frame.with_columns(
        column=pl.lit(column),
        follows=pl.when(pl.col("turn") == 0).then(pl.lit(begins)).otherwise(pl.col("role").shift(1))
        + ">"
        + pl.col("role"),
        length=length,
        total=pl.Series(
            np.where(frame["last"].to_numpy(), through - (through - length.to_numpy())[begin], 0), dtype=pl.Int64
        ),
    )


def texts_matching(texts: "pyarrow.StringArray", positions: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """True where a text has a match, (n,) booleans. Far faster than a regular expression.

    texts: Arrow strings, (n,). positions: bytes as (m,) uint8 -> where matches begin. A match has two bytes at most.
    """
    ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    found, data = np.zeros(len(texts), bool), texts.buffers()[2]
    if len(texts) and data is not None:
        data = np.frombuffer(data, np.uint8)[: ends[-1]]
        # in pieces that fit the processor's cache and overlap by one byte
        for start in range(ends[0], ends[-1], PIECE_BYTES):
            hits = positions(data[start : start + PIECE_BYTES + 1])
            if len(hits):
                found[np.searchsorted(ends, hits + start, "right") - 1] = True
    return found


def _control_positions(text: np.ndarray) -> np.ndarray:
    """Positions of control characters other than tab, line feed and carriage return."""
    low = np.flatnonzero(text < 32)
    values = text[low]
    low = low[(values != 10) & (values != 9) & (values != 13)]
    deleted = text == 127
    return np.r_[low, np.flatnonzero(deleted)] if deleted.any() else low


def _c1_positions(text: np.ndarray) -> np.ndarray:
    """Positions of U+0080 to U+009F, which only a text read in a wrong encoding has."""
    first = np.flatnonzero(text[:-1] == 0xC2)
    return first[text[first + 1] < 0xA0]


def measure_texts(table: "pyarrow.Table", columns: list[str]) -> pl.DataFrame:
    """(mojibake, placeholder, transcript) of each row.

    Whether a text was read in a wrong encoding; a placeholder that nothing filled, or null; whether a text holds turns of both roles.
    """
    broken, placeholders = np.zeros(table.num_rows, bool), np.full(table.num_rows, None, object)
    transcripts = np.zeros(table.num_rows, bool)
    for column in columns:
        messages = table[column].combine_chunks()
        spoken, rows = spoken_text(pc.list_flatten(messages)), pc.list_parent_indices(messages).to_numpy()
        texts = as_series(spoken).fill_null("")
        # U+FFFD replaces bytes that could not be decoded; curly quotes and dashes read as Windows-1252 begin with "â€"
        marks = texts.str.contains("\ufffd", literal=True) | texts.str.contains("â€", literal=True)
        broken[rows[marks.to_numpy() | texts_matching(spoken, _c1_positions)]] = True
        braces = texts.str.contains("{{", literal=True).to_numpy()
        named = texts.filter(pl.Series(braces)).str.extract(PLACEHOLDER)
        placeholders[rows[braces][named.is_not_null().to_numpy()]] = named.drop_nulls().to_list()
        answering = np.any([texts.str.contains(mark, literal=True).to_numpy() for mark in ANSWERING], axis=0)
        transcripts[rows[answering][texts.filter(pl.Series(answering)).str.contains(TRANSCRIPT).to_numpy()]] = True
    placeholder = pl.Series(placeholders.tolist(), dtype=pl.String)
    return pl.DataFrame({"mojibake": broken, "placeholder": placeholder, "transcript": transcripts})


def conversation_lengths(messages: "pyarrow.ChunkedArray") -> np.ndarray:
    """Characters of each conversation, (n,) integers."""
    lists = messages.combine_chunks()
    texts = as_series(spoken_text(pc.list_flatten(lists))).str.len_chars().fill_null(0)
    rows = pc.list_parent_indices(lists).to_numpy()
    return np.bincount(rows, weights=texts.to_numpy(), minlength=len(lists)).astype(np.int64)


def named_check(name: str, condition: pl.Expr) -> pa.Check:
    """A pandera check with a stable name: the polars expression is true in every row.

    The expression may read columns that the schema does not list. Each column of a schema costs pandera several
    milliseconds a batch, so computed columns (`printable`, `total`) are not in it.
    """
    return pa.Check(lambda data: data.lazyframe.select(condition), error=name)


def message_schema(kind: str, **flags: str) -> pa.DataFrameSchema:
    """The schema of a flat table of messages: known roles, non-empty turns, an order that a template can render.

    flags: {boolean column that the kind adds: name of its check}.
    """
    content = pl.col("content")
    return pa.DataFrameSchema(
        {
            "role": pa.Column(
                str,
                [
                    named_check(f"{kind}.known_roles", pl.col("role").is_in(ROLES)),
                    named_check(f"{kind}.tool_follows_call", pl.col("called")),
                    named_check(f"{kind}.roles_alternate", pl.col("follows").is_in(ALLOWED_ORDER)),
                ],
            ),
            "content": pa.Column(
                str,
                [
                    # twice as fast as a regular expression
                    named_check(f"{kind}.non_empty_turns", content.str.strip_chars() != ""),
                    named_check(
                        f"{kind}.no_template_tokens", pl.col("spoken").str.contains_any(TEMPLATE_TOKENS).not_()
                    ),
                    named_check(f"{kind}.no_control_characters", pl.col("printable")),
                    named_check(f"{kind}.turn_length", pl.col("length") <= MAX_TURN_CHARACTERS),
                    named_check(f"{kind}.conversation_length", pl.col("total") <= MAX_CONVERSATION_CHARACTERS),
                    *(named_check(name, pl.col(flag)) for flag, name in flags.items()),
                ],
            ),
        }
    )


def flag_schema(column: str, name: str) -> pa.DataFrameSchema:
    """The schema of a table with one boolean column that must be true in every row."""
    return pa.DataFrameSchema({column: pa.Column(bool, named_check(name, pl.col(column)))})


def failures(schema: pa.DataFrameSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """(index, check) of every failing row of a frame, all checks at once.

    Raises AssertionError where the frame lacks a column of the schema: that is a fault of the code, not of the data.
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


def turn_failures(schema: pa.DataFrameSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """(row, check, detail) of every failing message."""
    failing = failures(schema, frame)
    # details that the check's name does not tell; computed for the few failing texts only
    token = pl.format(" has {}", pl.col("spoken").str.extract_many(TEMPLATE_TOKENS).list.first())
    control = pl.format(
        " has U+00{}", pl.col("spoken").str.extract(CONTROL_CHARACTER).str.encode("hex").str.to_uppercase()
    )
    what = (
        pl.when(pl.col("check").str.ends_with(".no_template_tokens"))
        .then(token)
        .when(pl.col("check").str.ends_with(".no_control_characters"))
        .then(control)
    )
    return (
        frame.with_row_index("index")
        .with_columns(pl.col("index").cast(pl.Int32))
        .join(failing, on="index")
        .select(
            pl.col("row").cast(pl.Int64),
            "check",
            detail=pl.format("{}[{}] by '{}'{}", "column", "turn", "role", what.fill_null("")),
        )
    )


def row_failures(schema: pa.DataFrameSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """(row, check, detail) of every failing row of a table with one row a record."""
    return failures(schema, frame).select(
        pl.col("index").cast(pl.Int64).alias("row"), "check", detail=pl.lit("the row")
    )


def empty_failures(messages: "pyarrow.ChunkedArray", check: str, column: str) -> pl.DataFrame:
    """(row, check, detail) of every row whose list of messages is empty. Such a row is not in the flat table."""
    lengths = pl.DataFrame({"length": pl.from_arrow(pc.list_value_length(messages.combine_chunks()))})
    empty = pa.DataFrameSchema({"length": pa.Column(pl.Int32, pa.Check.gt(0, error=check))})
    return row_failures(empty, lengths).with_columns(detail=pl.lit(f"{column} has no message"))


def ends_with(frame: pl.DataFrame, roles: list[str]) -> pl.Series:
    """False for the last message of a conversation whose role is none of `roles`; true elsewhere."""
    return frame.select(~pl.col("last") | pl.col("role").is_in(roles)).to_series()
