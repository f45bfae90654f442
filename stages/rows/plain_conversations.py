"""Plain conversations, straight from JSON lines to columns: most supervised data, at several times the speed.

A line of ChatML, ShareGPT or Alpaca with only text is decoded into typed structs, hashed and appended to columns. Any
other line (tools, parts, other keys, any fault) goes through `stages/rows/shapes.py`. Both ways give the same rows: a
test compares them on every sample.
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
    """A message as it is hashed: role and content, in this order. A message with more keys goes through shapes.py."""

    role: str
    content: str


class ShareGptTurn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A ShareGPT message."""

    sender: str = msgspec.field(name="from")
    value: str


class PlainRecord(msgspec.Struct, gc=False):
    """A record of one of the three shapes. Many records also have an `id`, which has no meaning."""

    messages: list[Turn] | UnsetType = UNSET
    conversations: list[ShareGptTurn] | UnsetType = UNSET
    instruction: str | UnsetType = UNSET
    output: str | UnsetType = UNSET
    input: str | UnsetType = UNSET
    id: str | int | UnsetType | None = UNSET


# fields that catch keys which would change a record's shape or row; all other keys are only counted by name
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
ID_PREFIX_HASH = hashlib.sha256(b'{"kind":"sft","messages":')  # the hash of an id starts from here


def decode_plain(line: bytes) -> tuple[PlainRecord, tuple[str, ...]] | None:
    """(record, its other keys that are not empty) of a line, or None if it must go through shapes.py."""
    try:
        try:
            record = DECODE_STRICT(line)
            return record, () if record.id is UNSET or record.id in (None, "") else ("id",)
        except msgspec.ValidationError:
            record = DECODE_LAX(line)
            if msgspec.structs.astuple(record)[-len(OTHER_KEYS) :] != ALL_UNSET:
                return None
            # msgspec does not check the fields that it skips: neither UTF-8 nor the range of numbers
            line.isascii() or line.decode()
            all_keys = DECODE_WHOLE(line)
            return record, tuple(key for key in all_keys if key not in USED_KEYS and all_keys[key] not in EMPTY_VALUES)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def plain_turns(line: bytes) -> tuple[list[Turn], str, tuple[str, ...]] | None:
    """(messages, shape, unused keys) of a plain conversation, or None if the line must go through shapes.py."""
    if (decoded := decode_plain(line)) is None:
        return None
    record, other_keys = decoded
    if other_keys and any(map(key_matters, other_keys)):
        return None
    messages, conversations, instruction = record.messages, record.conversations, record.instruction
    if messages is not UNSET:
        if not messages or not conversations is instruction is record.input is record.output is UNSET:
            return None
        for turn in messages:
            role = turn.role = ROLES.get(turn.role, turn.role)
            if role == "function_call" or (role == "assistant" and may_hold_thought(turn.content)):
                return None
        return messages, "chatml (key messages)", other_keys
    if conversations is not UNSET:
        if not conversations or not instruction is record.input is record.output is UNSET:
            return None
        turns = []
        for message in conversations:
            role = ROLES.get(message.sender, message.sender)
            if role == "function_call" or (role == "assistant" and may_hold_thought(message.value)):
                return None
            turns.append(Turn(role, message.value))
        return turns, "sharegpt (key conversations)", other_keys
    if instruction is UNSET or record.output is UNSET or may_hold_thought(record.output):
        return None
    question = f"{instruction}\n{record.input}" if record.input else instruction
    return [Turn("user", question), Turn("assistant", record.output)], "alpaca (keys instruction, output)", other_keys


@lru_cache(4096)
def key_matters(key: str) -> bool:
    """Whether a key may change the row of a record, or stop its file: it has a meaning, or is one of two answers."""
    return meaning_of(key) is not None or any(key in sides for sides in SIDES)


def may_hold_thought(text: str) -> bool:
    """Whether an answer may begin with a thought. The search for one letter takes a fraction of the time of the tag's."""
    return "<" in text and "</think>" in text


def count_without_answer(table: pa.Table) -> int:
    """How many conversations of a table of sft rows have no assistant turn."""
    messages = table["messages"].combine_chunks() if len(table) else None
    if messages is None:
        return 0
    roles = messages.values.field("role")
    assistants_before = np.concatenate([[0], np.cumsum(pc.equal(roles, "assistant").to_numpy(zero_copy_only=False))])
    ends = messages.offsets.to_numpy()
    return int((assistants_before[ends[1:]] == assistants_before[ends[:-1]]).sum())


def describe_prompts_only(count: int) -> str:
    many = "conversations" if count != 1 else "conversation"
    return f"{count:,} {many} without an answer: prompts only; as kind grpo they need a ground truth"


class SftColumns:
    """Columns of sft rows under construction; data only, filled by `append` and `append_row`."""

    def __init__(self) -> None:
        self.lengths, self.roles, self.contents = [], [], []
        self.optional = {key: {} for key in OPTIONAL_KEYS}  # {place of the turn: value}
        self.tools, self.ids, self.lines, self.prompt_keys = [], [], [], []

    def append(self, turns: list[Turn], line: int) -> None:
        """A plain conversation."""
        self.lengths.append(len(turns))
        question = None
        for turn in turns:
            self.roles.append(turn.role)
            self.contents.append(turn.content)
            if question is None and turn.role == "user" and turn.content:
                question = turn.content
        encoded = ENCODE(turns)
        hashed = ID_PREFIX_HASH.copy()
        hashed.update(encoded)
        hashed.update(b',"tools":null}')
        self.ids.append(hashed.hexdigest())
        key = normalise_text(question if question is not None else encoded.decode())
        self.prompt_keys.append(hashlib.sha256(key.encode()).hexdigest())
        self.lines.append(line)
        self.tools.append(None)

    def append_row(self, row: Row) -> None:
        """A row from shapes.py, with its id and keys."""
        turns = row["messages"]
        self.lengths.append(len(turns))
        for turn in turns:
            for key in OPTIONAL_KEYS:
                if turn.get(key) is not None:
                    self.optional[key][len(self.roles)] = turn[key]
            self.roles.append(turn["role"])
            self.contents.append(turn["content"])
        self.tools.append(row["tools"])
        self.ids.append(row["id"])
        self.prompt_keys.append(row["prompt_key"])
        self.lines.append(row["line"])

    def table(self, source: str) -> pa.Table:
        """The Arrow table of the schema that ingest writes."""
        count = len(self.roles)
        optional = [
            column(
                list(map(self.optional[key].get, range(count))) if self.optional[key] else pa.nulls(count, pa.string()),
                kind,
            )
            for key, kind in OPTIONAL_KEYS.items()
        ]
        turns = pa.StructArray.from_arrays(
            [pa.array(self.roles, pa.string()), pa.array(self.contents, pa.string()), *optional],
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
