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
from stages.rows.identity import normalise_text
from stages.rows.key_meanings import EMPTY_VALUES, meaning_of
from stages.rows.tables import JSON, MESSAGES, OPTIONAL_KEYS, column, row_schema
from stages.rows.turns import KNOWN_KEYS, MEDIA_KEYS, ROLES
from stages.rows.types import Row
from stages.rows.values import ENCODE

OtherKey = msgspec.Raw | UnsetType


# gc=False: structs of texts cannot form cycles, and the collector would visit millions of them
class Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message as it is hashed: role and content, in this order. One that has more takes the general way."""

    role: str
    content: str


class ShareGptTurn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A ShareGPT message."""

    sender: str = msgspec.field(name="from")
    value: str


class PlainRecord(msgspec.Struct, gc=False):
    """A record of one of the three shapes; most others have an `id`, which says nothing."""

    messages: list[Turn] | UnsetType = UNSET
    conversations: list[ShareGptTurn] | UnsetType = UNSET
    instruction: str | UnsetType = UNSET
    output: str | UnsetType = UNSET
    input: str | UnsetType = UNSET
    id: str | int | UnsetType | None = UNSET


# keys that would make another shape or another row of a record are there to be noticed; of all others the names are counted
OTHER_KEYS = sorted((KNOWN_KEYS | MEDIA_KEYS) - set(PlainRecord.__struct_fields__))
USED_KEYS = set(PlainRecord.__struct_fields__) - {"id"}
OTHER_FIELDS = [(name, OtherKey, UNSET) for name in OTHER_KEYS]
ALL_UNSET = (UNSET,) * len(OTHER_KEYS)
PlainDecoder = Callable[[bytes], PlainRecord]
DECODE_STRICT = cast(
    PlainDecoder,
    msgspec.json.Decoder(msgspec.defstruct("Strict", [], bases=(PlainRecord,), forbid_unknown_fields=True)).decode,
)
DECODE_LAX = cast(
    PlainDecoder, msgspec.json.Decoder(msgspec.defstruct("Lax", OTHER_FIELDS, bases=(PlainRecord,))).decode
)
DECODE_WHOLE = msgspec.json.Decoder().decode
ID_PREFIX_HASH = hashlib.sha256(b'{"kind":"sft","messages":')  # every id begins so


def decode_plain(line: bytes) -> tuple[PlainRecord, tuple[str, ...]] | None:
    """(a line as a Plain record, its other keys that hold something), or None where it has more to say, or has a fault."""
    try:
        try:
            record = DECODE_STRICT(line)
            return record, () if record.id is UNSET or record.id in (None, "") else ("id",)
        except msgspec.ValidationError:
            record = DECODE_LAX(line)
            if msgspec.structs.astuple(record)[-len(OTHER_KEYS) :] != ALL_UNSET:
                return None
            # msgspec checks nothing of the fields that it skips: neither UTF-8 nor the range of numbers
            line.isascii() or line.decode()
            whole = DECODE_WHOLE(line)
            return record, tuple(key for key in whole if key not in USED_KEYS and whole[key] not in EMPTY_VALUES)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def plain_turns(line: bytes) -> tuple[list[Turn], str, tuple[str, ...]] | None:
    """(messages, shape, keys that are not used) of a plain conversation, or None where the line must take the general way."""
    if (found := decode_plain(line)) is None:
        return None
    record, others = found
    if others and any(map(key_matters, others)):
        return None
    messages, conversations, instruction = record.messages, record.conversations, record.instruction
    if messages is not UNSET:
        if not messages or not conversations is instruction is record.input is record.output is UNSET:
            return None
        for turn in messages:
            role = turn.role = ROLES.get(turn.role, turn.role)
            if role == "function_call" or (role == "assistant" and may_hold_thought(turn.content)):
                return None
        return messages, "chatml (key messages)", others
    if conversations is not UNSET:
        if not conversations or not instruction is record.input is record.output is UNSET:
            return None
        turns = []
        for said in conversations:
            role = ROLES.get(said.sender, said.sender)
            if role == "function_call" or (role == "assistant" and may_hold_thought(said.value)):
                return None
            turns.append(Turn(role, said.value))
        return turns, "sharegpt (key conversations)", others
    if instruction is UNSET or record.output is UNSET or may_hold_thought(record.output):
        return None
    asked = f"{instruction}\n{record.input}" if record.input else instruction
    return [Turn("user", asked), Turn("assistant", record.output)], "alpaca (keys instruction, output)", others


@lru_cache(4096)
def key_matters(key: str) -> bool:
    """Whether a key may make another row of a record, or stop its file: it means something, or is one of two answers."""
    return meaning_of(key) is not None or any(key in sides for sides in SIDES)


def may_hold_thought(text: str) -> bool:
    """Whether an answer may begin with a thought. One letter is found at a fraction of the time of the tag."""
    return "<" in text and "</think>" in text


def count_without_answer(table: pa.Table) -> int:
    """How many conversations of a table of sft rows have no turn of the assistant's."""
    messages = table["messages"].combine_chunks() if len(table) else None
    if messages is None:
        return 0
    roles = messages.values.field("role")
    counted = np.concatenate([[0], np.cumsum(pc.equal(roles, "assistant").to_numpy(zero_copy_only=False))])
    ends = messages.offsets.to_numpy()
    return int((counted[ends[1:]] == counted[ends[:-1]]).sum())


def describe_prompts_only(count: int) -> str:
    many = "conversations" if count != 1 else "conversation"
    return f"{count:,} {many} without an answer: prompts only; as kind grpo they need a ground truth"


class SftColumns:
    """Columns of sft rows under construction; data only, filled by `append` and `append_row`."""

    def __init__(self) -> None:
        self.lengths, self.roles, self.contents = [], [], []
        self.more = {key: {} for key in OPTIONAL_KEYS}  # {place of the turn: value}
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
        hashed = ID_PREFIX_HASH.copy()
        hashed.update(encoded)
        hashed.update(b',"tools":null}')
        self.ids.append(hashed.hexdigest())
        key = normalise_text(asked if asked is not None else encoded.decode())
        self.prompt_keys.append(hashlib.sha256(key.encode()).hexdigest())
        self.lines.append(line)
        self.tools.append(None)

    def append_row(self, row: Row) -> None:
        """A row of the general way, with its id and keys."""
        turns = row["messages"]
        self.lengths.append(len(turns))
        for turn in turns:
            for key in OPTIONAL_KEYS:
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
            for key, kind in OPTIONAL_KEYS.items()
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
