"""Hashes of a row's content: they tell which rows are the same, ask the same, or contradict each other.

identify(row, "sft") -> {"id": "5f0e...", "prompt_key": "9a1c...", "claim_key": None, "claim": None}
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stages.rows.types import Fields, Identity, Row
from stages.rows.values import ENCODE

ODD_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f"  # the white space of ASCII except the space


def identify(row: Row, kind: str) -> Identity:
    """The row's `id`, `prompt_key`, `claim_key` (sha256 in hexadecimal) and `claim`.

    id: of the canonical JSON of only kind and content. prompt_key: of the first user turn, normalised. claim_key and
    claim: what the row is about and what it claims about it, None for kinds whose rows cannot contradict each other.
    """
    conversation = row["messages"] if kind == "sft" else row["prompt"]
    question = next((turn["content"] for turn in conversation if turn["role"] == "user" and turn["content"]), None)
    question = question or ENCODE(messages_to_hash(conversation)).decode()
    content = {key: messages_to_hash(value) if isinstance(value, list) else value for key, value in row.items()}
    content |= {key: canonical_json(row[key]) for key in ("tools", "extra") if row.get(key)}
    if kind != "sft" and not row.get("tools"):
        content.pop("tools", None)  # these kinds once had no tools; their ids stay the same
    subject, claim = claims(kind, content)
    return {
        "id": digest(ENCODE({"kind": kind, **content})),
        "prompt_key": digest(normalise_text(question).encode()),
        "claim_key": digest(ENCODE(subject)) if subject else None,
        "claim": claim,
    }


def claims(kind: str, content: Row) -> tuple[object, str | None]:
    """(subject, claim): what a row is about, and what it claims about it."""
    prompt = [content["prompt"], content["tools"]] if content.get("tools") and kind != "sft" else content.get("prompt")
    if kind == "preference":
        sides = [ENCODE(content["chosen"]), ENCODE(content["rejected"])]
        return [prompt, sorted(sides)], digest(sides[0])
    if kind == "kto":
        return [prompt, content["completion"]], str(content["label"])
    if kind == "grpo":
        return prompt, content["ground_truth"]
    return None, None


def messages_to_hash(turns: Sequence[Mapping[str, Any]]) -> list[Fields]:
    """Messages for hashing: without null keys and without ids of calls, which are not content; the keys of calls are sorted.

    Tool results usually follow the order of the calls. If they do not, the call that a result answers is content.
    """
    messages: list[Fields] = []
    ids: list[Any] = []
    result_index = 0
    for turn in turns:
        message: Fields = {key: value for key, value in turn.items() if value is not None and key != "tool_call_id"}
        if "tool_calls" in message:
            calls, result_index = msgspec.json.decode(message["tool_calls"]), 0
            ids = [call.get("id") for call in calls]
            message["tool_calls"] = without_call_ids(calls)
        elif message["role"] == "tool":
            call = turn.get("tool_call_id")
            if call is not None and call in ids and ids[result_index : result_index + 1] != [call]:
                message["answers"] = ids.index(call)
            result_index += 1
        messages.append(message)
    return messages


def without_call_ids(calls: list[Fields]) -> msgspec.Raw:
    calls = [{key: value for key, value in call.items() if key != "id"} for call in calls]
    return msgspec.Raw(msgspec.json.encode(calls, order="sorted"))


def canonical_json(text: str) -> msgspec.Raw:
    """JSON text with the keys of every object sorted: equal values have equal text."""
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text), order="sorted"))


def normalise_text(text: str) -> str:
    """Text with NFC, case and white space folded: questions that are the same to a person get the same key."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    elif "  " not in text and not any(map(text.__contains__, ODD_SPACES)):
        return text.lower().strip(" ")  # only single spaces: three times as fast as a split
    return " ".join(text.casefold().split())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
