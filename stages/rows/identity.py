"""What makes a row the same row, the same question, or a contradiction: hashes of its content.

identify(row, "sft") -> {"id": "5f0e...", "prompt_key": "9a1c...", "claim_key": None, "claim": None}
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stages.rows.types import Fields, Identity, Row
from stages.rows.values import ENCODE

ODD_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f"  # the white space of ASCII but the space itself


def identify(row: Row, kind: str) -> Identity:
    """The row's `id`, `prompt_key`, `claim_key` (sha256 in hexadecimal) and `claim`.

    id: of the canonical JSON of kind and content alone. prompt_key: of the first user turn, normalised. claim_key and
    claim: what the row speaks about and what it says of that, None where rows cannot contradict each other.
    """
    conversation = row["messages"] if kind == "sft" else row["prompt"]
    asked = next((turn["content"] for turn in conversation if turn["role"] == "user" and turn["content"]), None)
    asked = asked or ENCODE(messages_to_hash(conversation)).decode()
    content = {key: messages_to_hash(value) if isinstance(value, list) else value for key, value in row.items()}
    content |= {key: canonical_json(row[key]) for key in ("tools", "extra") if row.get(key)}
    if kind != "sft" and not row.get("tools"):
        content.pop("tools", None)  # such rows had no tools once, and have the same ids still
    about, claim = claims(kind, content)
    return {
        "id": digest(ENCODE({"kind": kind, **content})),
        "prompt_key": digest(normalise_text(asked).encode()),
        "claim_key": digest(ENCODE(about)) if about else None,
        "claim": claim,
    }


def claims(kind: str, content: Row) -> tuple[object, str | None]:
    """What a row speaks about, and what it says of that."""
    asked = [content["prompt"], content["tools"]] if content.get("tools") and kind != "sft" else content.get("prompt")
    if kind == "preference":
        sides = [ENCODE(content["chosen"]), ENCODE(content["rejected"])]
        return [asked, sorted(sides)], digest(sides[0])
    if kind == "kto":
        return [asked, content["completion"]], str(content["label"])
    if kind == "grpo":
        return asked, content["ground_truth"]
    return None, None


def messages_to_hash(turns: Sequence[Mapping[str, Any]]) -> list[Fields]:
    """Messages for hashing: without the keys that are null and without ids of calls, which are no content; calls in a fixed order of keys.

    What tools found usually stands in the order of the calls. Where it does not, which call a result answers is content.
    """
    found: list[Fields] = []
    ids: list[Any] = []
    at = 0
    for turn in turns:
        said: Fields = {key: value for key, value in turn.items() if value is not None and key != "tool_call_id"}
        if "tool_calls" in said:
            calls, at = msgspec.json.decode(said["tool_calls"]), 0
            ids = [call.get("id") for call in calls]
            said["tool_calls"] = without_call_ids(calls)
        elif said["role"] == "tool":
            call = turn.get("tool_call_id")
            if call is not None and call in ids and ids[at : at + 1] != [call]:
                said["answers"] = ids.index(call)
            at += 1
        found.append(said)
    return found


def without_call_ids(calls: list[Fields]) -> msgspec.Raw:
    calls = [{key: value for key, value in call.items() if key != "id"} for call in calls]
    return msgspec.Raw(msgspec.json.encode(calls, order="sorted"))


def canonical_json(text: str) -> msgspec.Raw:
    """JSON text with the keys of every object in order: the same value has one text."""
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text), order="sorted"))


def normalise_text(text: str) -> str:
    """Text with NFC, case and white space folded: what is the same question to a person has one key."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    elif "  " not in text and not any(map(text.__contains__, ODD_SPACES)):
        return text.lower().strip(" ")  # no white space but single spaces: three times as fast as to split it
    return " ".join(text.casefold().split())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
