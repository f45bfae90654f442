"""Eval rows that end as train rows do: the first user turn decides the side of a row, but a score is of its last answer.

warning: datasets.d: 392 of 409 eval rows end with a question and an answer that a train row has too: a.jsonl:5, as a.jsonl:3

It takes conversations of several turns, such as rows of one conversation whose turns are in another order.
"""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.rows.tables import COLUMNS, MESSAGES
from validators.problems import Problem

LEAST_SHARE = 0.05  # of the eval rows: fewer may be courtesies, as "Thanks." and its answer
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that the order of two turns counts
HASH_TURNS = "SELECT hash(role, content, tool_calls) AS hash FROM turns"


class Ends:
    """The last two turns of each eval row, and every two neighbouring turns of each train row, as hashes.

    Nothing for GRPO, whose rows have no answer to learn.
    """

    def __init__(self, kind: str) -> None:
        columns = [name for name, type_ in COLUMNS[kind].items() if type_ == MESSAGES and name != "rejected"]
        self.columns = columns if kind != "grpo" else []
        self.train, self.eval = ([(np.empty(0, np.int64), np.empty(0, np.uint64))] for _ in range(2))
        self.train_rows = self.eval_rows = 0
        self.database = duckdb.connect()

    def add(self, train: pa.Table, held_out: pa.Table) -> None:
        """Add the rows of a part, in the order of the files that `problem` is given."""
        for table, first, found in ((train, self.train_rows, self.train), (held_out, self.eval_rows, self.eval)):
            if self.columns and len(table):
                rows, pairs, is_last = turn_pairs(table, self.columns, self.database)
                wanted = slice(None) if found is self.train else is_last
                found.append((rows[wanted] + first, pairs[wanted]))
        self.train_rows, self.eval_rows = self.train_rows + len(train), self.eval_rows + len(held_out)

    def problem(self, where: str, train_file: Path, eval_file: Path) -> Problem | None:
        """A problem where at least LEAST_SHARE of the eval rows end with two turns that follow each other in a train row."""
        (train_rows, learned), (eval_rows, ends) = (
            [np.concatenate(arrays) for arrays in zip(*parts, strict=True)] for parts in (self.train, self.eval)
        )
        repeated = np.flatnonzero(np.isin(ends, learned))
        if not len(repeated) or len(repeated) < LEAST_SHARE * self.eval_rows:
            return None
        end = repeated[0]
        places = [
            place_of(eval_file, eval_rows[end]),
            place_of(train_file, train_rows[np.flatnonzero(learned == ends[end])[0]]),
        ]
        what = f"{len(repeated):,} of {self.eval_rows:,} eval rows end with a question and an answer that a train row has too"
        hint = (
            "their scores include what was learned by heart; make one row of each conversation, with its turns in the "
            "order in which they were said"
        )
        return Problem(where, f"{what}: {places[0]}, as {places[1]}", "", hint)


def turn_pairs(
    table: pa.Table, columns: list[str], database: duckdb.DuckDBPyConnection
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, hash, whether the row ends here), (pairs,) each, of every two neighbouring turns of a row. columns: they follow each other."""
    found = [turn_hashes(table[name].combine_chunks(), database) for name in columns]
    rows, hashes = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    if len(columns) > 1:
        order = np.argsort(rows, kind="stable")
        rows, hashes = rows[order], hashes[order]
    within = rows[1:] == rows[:-1]
    is_last = np.append(rows[1:] != rows[:-1], True)[1:]
    return rows[1:][within], (hashes[:-1] * FACTOR ^ hashes[1:])[within], is_last[within]


def turn_hashes(messages: pa.ListArray, database: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """(row, hash of role, content and calls) of each turn of all rows, (turns,) each."""
    turns = messages.flatten()
    fields = {key: turns.field(key) for key in ("role", "content", "tool_calls")}
    # DuckDB does not know Arrow's JSON
    texts = pa.table({key: getattr(field, "storage", field) for key, field in fields.items()})
    hashes = database.register("turns", texts).execute(HASH_TURNS).fetchnumpy()["hash"]
    return pc.list_parent_indices(messages).to_numpy(), np.asarray(hashes)


def place_of(file: Path, row: int) -> str:
    """`<source>:<line>` of a row of data/train or data/eval."""
    origin = pq.read_table(file, columns=["source", "line"]).slice(row, 1).to_pylist()[0]
    return f"{origin['source']}:{origin['line']}"
