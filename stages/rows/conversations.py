"""Plain conversations straight from JSON lines to columns: the bulk of supervised data, at several times the speed.

A line of ChatML, ShareGPT or Alpaca with text alone is decoded into typed structs, hashed and appended to columns. Any
other line (tools, parts, other keys, a fault of any kind) takes the general way of `stages/rows/shapes.py`, which gives
the same rows: a test holds the two against each other on every sample.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from typing import cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, UnsetType

from stages.rows.choices import SIDES
from stages.rows.identity import normalised
from stages.rows.meanings import NOTHING, meaning_of
from stages.rows.tables import JSON, MESSAGES, OPTIONAL, column, row_schema
from stages.rows.turns import KEYS, MEDIA, ROLES
from stages.rows.types import Row
from stages.rows.values import ENCODE

Other = msgspec.Raw | UnsetType


# gc=False: structs of texts cannot form cycles, and the collector would visit millions of them
class Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message as it is hashed: role and content, in this order. One that has more takes the general way."""

    role: str
    content: str


class Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A ShareGPT message."""

    sender: str = msgspec.field(name="from")
    value: str


class Plain(msgspec.Struct, gc=False):
    """A record of one of the three shapes; most others have an `id`, which says nothing."""

    messages: list[Turn] | UnsetType = UNSET
    conversations: list[Said] | UnsetType = UNSET
    instruction: str | UnsetType = UNSET
    output: str | UnsetType = UNSET
    input: str | UnsetType = UNSET
    id: str | int | UnsetType | None = UNSET


# keys that would make another shape or another row of a record are there to be noticed; of all others the names are counted
OTHERS = sorted((KEYS | MEDIA) - set(Plain.__struct_fields__))
USED = set(Plain.__struct_fields__) - {"id"}
NOTICED = [(name, Other, UNSET) for name in OTHERS]
UNSETS = (UNSET,) * len(OTHERS)
Decode = Callable[[bytes], Plain]
STRICT = cast(
    Decode, msgspec.json.Decoder(msgspec.defstruct("Strict", [], bases=(Plain,), forbid_unknown_fields=True)).decode
)
LAX = cast(Decode, msgspec.json.Decoder(msgspec.defstruct("Lax", NOTICED, bases=(Plain,))).decode)
WHOLE = msgspec.json.Decoder().decode
BEGUN = hashlib.sha256(b'{"kind":"sft","messages":')  # every id begins so


def decoded(line: bytes) -> tuple[Plain, tuple[str, ...]] | None:
    """(a line as a Plain record, its other keys that hold something), or None where it has more to say, or has a fault."""
    try:
        try:
            record = STRICT(line)
            return record, () if record.id is UNSET or record.id in (None, "") else ("id",)
        except msgspec.ValidationError:
            record = LAX(line)
            if msgspec.structs.astuple(record)[-len(OTHERS) :] != UNSETS:
                return None
            # msgspec checks nothing of the fields that it skips: neither UTF-8 nor the range of numbers
            line.isascii() or line.decode()
            whole = WHOLE(line)
            return record, tuple(key for key in whole if key not in USED and whole[key] not in NOTHING)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def turns_of(line: bytes) -> tuple[list[Turn], str, tuple[str, ...]] | None:
    """(messages, shape, keys that are not used) of a plain conversation, or None where the line must take the general way."""
    if (found := decoded(line)) is None:
        return None
    record, others = found
    if others and any(map(matters, others)):
        return None
    messages, conversations, instruction = record.messages, record.conversations, record.instruction
    if messages is not UNSET:
        if not messages or not conversations is instruction is record.input is record.output is UNSET:
            return None
        for turn in messages:
            role = turn.role = ROLES.get(turn.role, turn.role)
            if role == "function_call" or (role == "assistant" and thinks(turn.content)):
                return None
        return messages, "chatml (key messages)", others
    if conversations is not UNSET:
        if not conversations or not instruction is record.input is record.output is UNSET:
            return None
        turns = []
        for said in conversations:
            role = ROLES.get(said.sender, said.sender)
            if role == "function_call" or (role == "assistant" and thinks(said.value)):
                return None
            turns.append(Turn(role, said.value))
        return turns, "sharegpt (key conversations)", others
    if instruction is UNSET or record.output is UNSET or thinks(record.output):
        return None
    asked = f"{instruction}\n{record.input}" if record.input else instruction
    return [Turn("user", asked), Turn("assistant", record.output)], "alpaca (keys instruction, output)", others


@lru_cache(4096)
def matters(key: str) -> bool:
    """Whether a key may make another row of a record, or stop its file: it means something, or is one of two answers."""
    return meaning_of(key) is not None or any(key in sides for sides in SIDES)


def thinks(text: str) -> bool:
    """Whether an answer may begin with a thought. One letter is found at a fraction of the time of the tag."""
    return "<" in text and "</think>" in text


def without_answer(table: pa.Table) -> int:
    """How many conversations of a table of sft rows have no turn of the assistant's."""
    messages = table["messages"].combine_chunks() if len(table) else None
    if messages is None:
        return 0
    roles = messages.values.field("role")
    counted = np.concatenate([[0], np.cumsum(pc.equal(roles, "assistant").to_numpy(zero_copy_only=False))])
    ends = messages.offsets.to_numpy()
    return int((counted[ends[1:]] == counted[ends[:-1]]).sum())


def prompts_only(count: int) -> str:
    many = "conversations" if count != 1 else "conversation"
    return f"{count:,} {many} without an answer: prompts only; as kind grpo they need a ground truth"


class Columns:
    """Columns of sft rows under construction; data only, filled by `append` and `append_row`."""

    def __init__(self) -> None:
        self.lengths, self.roles, self.contents = [], [], []
        self.more = {key: {} for key in OPTIONAL}  # {place of the turn: value}
        self.tools, self.ids, self.lines, self.prompt_keys = [], [], [], []

    def append(self, turns: list[Turn], line: int) -> None:
        """A plain conversation."""
        self.lengths.append(len(turns))
        asked = None
        for turn in turns:
            self.roles.append(turn.role)
            self.contents.append(turn.content)
            if asked is None and turn.role == "user" and turn.content:
                asked = turn.content
        encoded = ENCODE(turns)
        hashed = BEGUN.copy()
        hashed.update(encoded)
        hashed.update(b',"tools":null}')
        self.ids.append(hashed.hexdigest())
        key = normalised(asked if asked is not None else encoded.decode())
        self.prompt_keys.append(hashlib.sha256(key.encode()).hexdigest())
        self.lines.append(line)
        self.tools.append(None)

    def append_row(self, row: Row) -> None:
        """A row of the general way, with its id and keys."""
        turns = row["messages"]
        self.lengths.append(len(turns))
        for turn in turns:
            for key in OPTIONAL:
                if turn.get(key) is not None:
                    self.more[key][len(self.roles)] = turn[key]
            self.roles.append(turn["role"])
            self.contents.append(turn["content"])
        self.tools.append(row["tools"])
        self.ids.append(row["id"])
        self.prompt_keys.append(row["prompt_key"])
        self.lines.append(row["line"])

    def table(self, source: str) -> pa.Table:
        """The Arrow table of the schema that ingest writes."""
        count = len(self.roles)
        more = [
            column(
                list(map(self.more[key].get, range(count))) if self.more[key] else pa.nulls(count, pa.string()), kind
            )
            for key, kind in OPTIONAL.items()
        ]
        turns = pa.StructArray.from_arrays(
            [pa.array(self.roles, pa.string()), pa.array(self.contents, pa.string()), *more],
            fields=list(MESSAGES.value_type),
        )
        offsets = pa.array(accumulate(self.lengths, initial=0), pa.int32())
        count = len(self.ids)
        columns = [
            pa.ListArray.from_arrays(offsets, turns),
            column(self.tools, JSON),
            pa.array(self.ids, pa.string()),
            pa.repeat(source, count),
            pa.array(self.lines, pa.int64()),
            pa.array(self.prompt_keys, pa.string()),
            pa.nulls(count, pa.string()),
            pa.nulls(count, pa.string()),
        ]
        return pa.table(columns, schema=row_schema("sft", keys=True))
