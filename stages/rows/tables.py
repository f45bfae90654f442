"""The tables on disk: TRL's columns for each kind of dataset, and one schema for rejects at every stage.

    rows     kind's columns, then id, source, line (between stages also prompt_key, claim_key and claim)
    rejects  id?, source, line, stage, check, detail, raw

`tool_calls` and `tools` are JSON columns (Arrow's `arrow.json`, which `datasets` reads as `Json()`): as plain text they
would break TRL's chat templates, and as structs every row would get the keys of all others. A message may have any of the keys
of MESSAGES. In data/train and data/eval it has only those that some row of the dataset uses: templates test whether a key
exists, and a null key exists.
"""

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.rows.types import Row
from validators.problems import Problem, Problems

JSON = pa.json_()
# train: false if an assistant turn is only context and is not learned
OPTIONAL_KEYS = {
    "tool_calls": JSON,
    "reasoning_content": pa.string(),
    "name": pa.string(),
    "tool_call_id": pa.string(),
    "train": pa.bool_(),
}
MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()} | OPTIONAL_KEYS))
COLUMNS = {
    "sft": {"messages": MESSAGES, "tools": JSON},
    "preference": {"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, "tools": JSON},
    "kto": {"prompt": MESSAGES, "completion": MESSAGES, "label": pa.bool_(), "tools": JSON},
    "grpo": {"prompt": MESSAGES, "ground_truth": pa.string(), "extra": pa.string()},
}
CONVERSATION_COLUMNS = ("messages", "prompt", "chosen", "rejected", "completion")
# columns whose values repeat: for others a dictionary costs time and saves nothing
REPETITIVE = ["source", "check", "stage", *(f"{name}.list.element.role" for name in CONVERSATION_COLUMNS)]
# for texts, the minimum and maximum of a page are useless and take a third of the time of an uncompressed write
WITH_STATISTICS = [
    *("source", "line", "check", "stage", "label"),
    *(
        f"{name}.list.element.{key}" for name in CONVERSATION_COLUMNS for key in OPTIONAL_KEYS
    ),  # how many are null: used_keys
]
ORIGIN_COLUMNS = {"id": pa.string(), "source": pa.string(), "line": pa.int64()}
# prompt_key: hash of the first user turn, for the split. claim_key: hash of what a row is about: two rows with the same
# claim_key and different claims contradict each other.
IDENTITY_COLUMNS = {"prompt_key": pa.string(), "claim_key": pa.string(), "claim": pa.string()}
REJECTS = pa.schema(
    {**ORIGIN_COLUMNS, "stage": pa.string(), "check": pa.string(), "detail": pa.string(), "raw": pa.string()}
)


def row_schema(kind: str, keys: bool = False, optional: Iterable[str] = OPTIONAL_KEYS) -> pa.Schema:
    """The Arrow schema of a kind's rows. keys: with the columns that only ingest and curate see. optional: keys of messages."""
    columns = {
        name: messages_type(optional) if column == MESSAGES else column for name, column in COLUMNS[kind].items()
    }
    return pa.schema(columns | ORIGIN_COLUMNS | (IDENTITY_COLUMNS if keys else {}))


def messages_type(optional: Iterable[str]) -> pa.ListType:
    """The type of messages that have these optional keys and no others."""
    turn = MESSAGES.value_type
    return pa.list_(pa.struct([turn.field(key) for key in ("role", "content", *optional)]))


def used_message_keys(files: Iterable[Path]) -> list[str]:
    """The optional keys of messages that some row of the files has, in a fixed order. The files must come from `write_table` has written."""
    keys = set()
    for file in files:
        metadata = pq.read_metadata(file)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                key = column.path_in_schema.rpartition(".list.element.")[2]
                nulls = column.statistics.null_count if column.statistics else 0
                if key in OPTIONAL_KEYS and nulls < column.num_values:
                    keys.add(key)
    return [key for key in OPTIONAL_KEYS if key in keys]


def with_message_keys(table: pa.Table, keys: Collection[str]) -> pa.Table:
    """A table of rows whose messages have these optional keys and no others."""
    kind = messages_type(keys).value_type
    for place, field in enumerate(table.schema):
        if field.type == MESSAGES:
            messages = table.column(place).combine_chunks() if len(table) else column([], MESSAGES)
            turns = messages.values
            structs = pa.StructArray.from_arrays([turns.field(key.name) for key in kind], fields=list(kind))
            table = table.set_column(place, field.name, pa.ListArray.from_arrays(messages.offsets, structs))
    return table


def row_content(row: Row, kind: str) -> Row:
    """The content of a row as rejects show it: without null keys of messages."""
    return {
        name: [
            {key: value for key, value in turn.items() if value is not None or key == "content"} for turn in row[name]
        ]
        if column == MESSAGES
        else row.get(name)
        for name, column in COLUMNS[kind].items()
    }


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows (dicts) as an Arrow table, built column by column."""
    return pa.table([column(_cells(rows, field), field.type) for field in schema], schema=schema)


def _cells(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> list[Any]:
    if field.type == JSON:
        return [row.get(field.name) for row in rows]
    return [row[field.name] for row in rows]


def column(values: Sequence[Any] | pa.Array, kind: pa.DataType) -> pa.Array:
    """An Arrow array of a type of COLUMNS."""
    if pa.types.is_list(kind):
        return _messages(values, kind)
    if kind == JSON:
        return pa.ExtensionArray.from_storage(JSON, pa.array(values, pa.string()))
    return pa.array(values, kind)


def _messages(conversations: Sequence[Any], kind: pa.ListType) -> pa.ListArray:
    offsets, turns = [0], []
    for conversation in conversations:
        turns += conversation
        offsets.append(len(turns))
    fields = [column([turn.get(field.name) for turn in turns], field.type) for field in kind.value_type]
    structs = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


@contextlib.contextmanager
def open_writer(path: str | Path, schema: pa.Schema, compression: str = "zstd") -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose file appears only when all of it is written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        settings = {"use_dictionary": REPETITIVE, "write_statistics": WITH_STATISTICS}
        with pq.ParquetWriter(partial, schema, compression=compression, **settings) as writer:
            yield writer
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_table(path: str | Path, table: pa.Table, compression: str = "zstd") -> None:
    """Write one table; the file appears only when all of it is written."""
    with open_writer(path, table.schema, compression) as writer:
        writer.write_table(table)


def conserve(stage: str, name: str, records: int, rejects: int, **parts: int) -> None:
    """Print the stage's account in one line. Raises AssertionError if rows were lost or made up."""
    account = f"{stage} {name}: {records:,} in = " + " + ".join(
        f"{count:,} {what}" for what, count in [*parts.items(), ("rejected", rejects)]
    )
    print(account, flush=True)
    if records != rejects + sum(parts.values()):
        raise AssertionError(f"rows were lost or made up, which is a bug in Tilth: {account}")


def stop_if_too_many_rejects(name: str, rejects: pa.Table, records: int, limit: float) -> None:
    """Stop the build if too large a share was rejected, with the top reasons and three sample rows of each.

    rejects: table of the schema REJECTS. records: how many came in at the first stage. limit: share, 0 to 1.
    """
    # a record that was forgotten on request is not bad data
    rejects = rejects.filter(pc.not_equal(rejects["check"], "ingest.forgotten"))
    if rejects.num_rows <= limit * records:
        return
    reasons = (
        rejects.group_by("check")
        .aggregate([([], "count_all")])
        .sort_by([("count_all", "descending"), ("check", "ascending")])
    )
    lines = []
    for check, count in zip(*reasons.select(["check", "count_all"]).to_pydict().values(), strict=True):
        lines.append(f"  {check}: {count:,}")
        for row in rejects.filter(pc.equal(rejects["check"], check)).slice(0, 3).to_pylist():
            lines.append(
                f"    {safe_text(row['source'])}:{row['line']}: {safe_text(row['detail'])}: {safe_text(row['raw'])}"
            )
    raise Problems(
        [
            Problem(
                f"datasets.{name}",
                f"{rejects.num_rows:,} of {records:,} records rejected ({rejects.num_rows / records:.1%})",
                f"at most max_reject_share = {limit:.1%}\n" + "\n".join(lines[:40]),
                f"fix the data, or raise datasets.{name}.max_reject_share in params.yaml",
            )
        ]
    )


def safe_text(text: str, width: int = 120) -> str:
    """Text from data, safe and short for a terminal: control characters escaped, cut with a mark."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: width + 1])
    return text if len(text) <= width else text[: width - 1] + "…"
