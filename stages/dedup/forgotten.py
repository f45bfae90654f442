"""The list of records that must not come back: data/forgotten.jsonl, one JSON object a line. It never holds their text.

    {"id": "5f0e...", "kind": "sft", "texts": [], "sketches": ["30f2..."], "reason": "request 17 of the privacy office"}

`tilth forget` writes the list. `ingest` leaves out the records with these ids. `curate` also rejects rows of any kind with the
same text, or nearly the same (`stages/dedup/sketches.py` explains the hashes in `texts` and `sketches`). A record that
could not be read has no id: its kind is `raw`, and its id is the sha256 of its raw text.

The first line may be {"about": "..."}, which is no record. It keeps DVC from warning about an empty file in every stage.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.rows.tables import REJECTS, to_table
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    import pyarrow as pa

FORGOTTEN_FILE = Path("data/forgotten.jsonl")
RECORD_KINDS = ("sft", "preference", "kto", "grpo", "raw")
INGEST_CHECK, CURATE_CHECK = "ingest.forgotten", "curate.forgotten"
# hexadecimal digits of a text's hash, and of a sketch: 128 bins of 4 bits
TEXT_DIGITS, SKETCH_DIGITS = 64, 128
HINT = "git checkout data/forgotten.jsonl, or write the line again with tilth forget"


@dataclass(frozen=True)
class Forgotten:
    """One line of the list."""

    id: str
    kind: str
    texts: tuple[str, ...]
    sketches: tuple[str, ...]
    reason: str


def read_forgotten(path: Path = FORGOTTEN_FILE) -> list[Forgotten]:
    """The list, in order; empty where there is no file. Raises Problems with every malformed line."""
    if not path.is_file() or not path.stat().st_size:
        return []
    return parse_forgotten(path.read_text(encoding="utf-8", errors="replace"), path)


def parse_forgotten(text: str, where: str | Path = FORGOTTEN_FILE) -> list[Forgotten]:
    """The list from its text. Raises Problems with every malformed line."""
    entries, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not (number == 1 and is_header(line)):
            try:
                entries.append(parse_entry(line))
            except ValueError as error:
                problems.append(Problem(f"{where}:{number}", str(error), "what tilth forget writes", HINT))
    if problems:
        raise Problems(problems)
    return entries


def is_header(line: str) -> bool:
    """True for a line {"about": "..."}, which names no record."""
    return re.fullmatch(r'\{"about": "[^"]*"\}\s*', line) is not None


def parse_entry(line: str) -> Forgotten:
    """One line of the list. Raises ValueError with the fault, and without any part of the line."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(data, dict) or set(data) != set(Forgotten.__annotations__):
        raise ValueError(f"does not have exactly the keys {', '.join(Forgotten.__annotations__)}")
    if data["kind"] not in RECORD_KINDS:
        raise ValueError("`kind` is no kind of record")
    if not isinstance(data["reason"], str) or not data["reason"].strip():
        raise ValueError("`reason` says nothing")
    if not is_hex(data["id"], 64):
        raise ValueError("`id` does not have 64 hexadecimal digits")
    for key, digits in (("texts", TEXT_DIGITS), ("sketches", SKETCH_DIGITS)):
        if not isinstance(data[key], list) or not all(is_hex(item, digits) for item in data[key]):
            raise ValueError(f"`{key}` is not a list of hashes of {digits} hexadecimal digits")
    return Forgotten(data["id"], data["kind"], tuple(data["texts"]), tuple(data["sketches"]), data["reason"])


def is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None


def entry_line(entry: Forgotten) -> str:
    """The line of an entry in the list."""
    return json.dumps(vars(entry), ensure_ascii=False) + "\n"


def raw_id(raw: str | None) -> str:
    """The id in the list of a record that could not be read: the sha256 of its raw text."""
    import hashlib

    return hashlib.sha256((raw or "").encode(errors="backslashreplace")).hexdigest()


# -- ingest -------------------------------------------------------------------------------------------------------


def leave_out_forgotten(rows: "pa.Table", rejects: "pa.Table", ids: Collection[str]) -> "tuple[pa.Table, pa.Table]":
    """(rows, rejects) of a batch of ingest without the forgotten records. Each becomes one reject without its text.

    Where one row of a record is forgotten, all its rows are left out: they come from the same text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    matches = rows.filter(pc.is_in(rows["id"], pa.array(sorted(ids), pa.string()))).select(["id", "source", "line"])
    forgotten = {row["line"]: row for row in reversed(matches.to_pylist())}
    with_ids = [(raw_id(row["raw"]), row) for row in rejects.to_pylist()]
    forgotten_rejects = [row | {"id": name} for name, row in with_ids if name in ids]
    if not forgotten and not forgotten_rejects:
        return rows, rejects
    blank = {"stage": "ingest", "check": INGEST_CHECK, "detail": "the record is in data/forgotten.jsonl", "raw": None}
    new_rejects = [row for name, row in with_ids if name not in ids]
    new_rejects += [
        {"id": row["id"], "source": row["source"], "line": row["line"]} | blank for row in forgotten_rejects
    ]
    new_rejects += [row | blank for row in forgotten.values()]
    stays = pc.invert(pc.is_in(rows["line"], pa.array(sorted(forgotten), pa.int64())))
    return rows.filter(stays), to_table(sorted(new_rejects, key=lambda row: row["line"]), REJECTS)
