"""The side of the split that a row belongs to: a pure function of the seed, of its prompt, and of what `eval:` pins.

    split_key("9a1c...", "Be brief.", ["system", "user"]) -> "77b0..."
    on_eval_side("77b0...", seed=7, eval_fraction=0.15)   -> False

A row without a system turn always has the key of its prompt, whatever `split_on` is. `stages/dedup/sql/keys.sql` computes
the same in SQL, for all rows at once.
"""

import hashlib
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from stages.reading.files import fits_pattern
from stages.rows.identity import digest, normalise_text
from stages.rows.types import Message

if TYPE_CHECKING:
    import duckdb

PINNED_FILE = Path("data/pinned.txt")


class PinEntry(TypedDict):
    """The part of a dataset's entry that pins rows. eval: patterns of files that are only for evaluation."""

    raw: str
    eval: list[str]


def split_key(prompt_key: str, system: str | None, split_on: Collection[str]) -> str:
    """The key that decides a row's side. system: the content of its system turn, None where it has none."""
    if "system" not in split_on or not system:
        return prompt_key
    return digest(f"{prompt_key}:{normalise_text(system)}".encode())


def split_key_sql(kind: str, split_on: Collection[str]) -> str:
    """The same key as a SQL expression over the columns that `ingest` writes. It needs `register_normalised`."""
    if "system" not in split_on:
        return "prompt_key"
    turns = "messages" if kind == "sft" else "prompt"
    system = f"nullif(list_filter({turns}, lambda turn: turn.role = 'system')[1].content, '')"
    return f"coalesce(sha256(prompt_key || ':' || normalised({system})), prompt_key)"


def register_normalised(database: "duckdb.DuckDBPyConnection") -> "duckdb.DuckDBPyConnection":
    """The database, with the SQL function `normalised` registered."""
    database.create_function("normalised", normalise_text, ["VARCHAR"], "VARCHAR")
    return database


def system_of(turns: Iterable[Message]) -> str | None:
    """The content of the first system turn, None where there is none."""
    return next((turn["content"] for turn in turns if turn["role"] == "system"), None)


def on_eval_side(key: str, seed: int, eval_fraction: float) -> bool:
    """True where a key belongs to eval: its hash with the seed, as a fraction of 1, is below `eval_fraction`."""
    return int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:8], 16) / 2**32 < eval_fraction


def is_pinned(source: str, dataset: PinEntry) -> bool:
    """True where `eval:` of a dataset's entry matches a file."""
    return any(fits_pattern(source, pattern, dataset["raw"]) for pattern in dataset["eval"])


def pinned_text(keys: Iterable[str]) -> str:
    """The text of the file of these keys. Its title line keeps DVC from warning about an empty file."""
    title = "# split keys of the prompts that `eval:` of datasets keeps out of training"
    return "".join(f"{line}\n" for line in (title, *sorted(keys)))


def read_pinned() -> frozenset[str]:
    """The split keys that `eval:` of any dataset holds out; none where nothing is pinned yet."""
    return _read_keys(PINNED_FILE.resolve(), PINNED_FILE.stat().st_mtime_ns) if PINNED_FILE.is_file() else frozenset()


@lru_cache(1)
def _read_keys(path: Path, changed_ns: int) -> frozenset[str]:
    return frozenset(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
