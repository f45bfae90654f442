"""Rows of a Parquet file as TRL's trainers get them, a batch at a time.

`tools` and `tool_calls` are JSON columns. `datasets` decodes them. pyarrow gives their text, and a chat template would
loop over its letters as if each were a call.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

BATCH_ROWS = 1024


def batches(path: str | Path, columns: list[str] | None, size: int = BATCH_ROWS) -> Iterator[list[dict[str, Any]]]:
    """Lists of at most `size` rows (dicts), JSON decoded, in the order of the file."""
    for batch in pq.ParquetFile(path).iter_batches(size, columns=columns):
        yield [decode_row(row) for row in batch.to_pylist()]


def decode_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row with `tools` and `tool_calls` decoded. Null keys of messages are left out, except `content`."""
    decoded = dict(row)
    for name, turns in row.items():
        if isinstance(turns, list):
            decoded[name] = [
                {
                    key: json.loads(value) if key == "tool_calls" and isinstance(value, str) else value
                    for key, value in turn.items()
                    if value is not None or key == "content"
                }
                for turn in turns
            ]
    if isinstance(row.get("tools"), str):
        decoded["tools"] = json.loads(row["tools"])
    return decoded


def origins(path: str | Path, positions: Sequence[int]) -> list[str]:
    """`source:line` of the rows at these positions of a file, (n,) texts."""
    rows = pq.read_table(path, columns=["source", "line"]).take(np.asarray(positions, np.int64)).to_pylist()
    return [f"{row['source']}:{row['line']}" for row in rows]


def describe_origins(path: str | Path, positions: Sequence[int], limit: int = 3) -> str:
    """The first rows as `source:line`, and how many more there are."""
    more = f" and {len(positions) - limit:,} more" if len(positions) > limit else ""
    return ", ".join(origins(path, positions[:limit])) + more
