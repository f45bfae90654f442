"""What a message's content says: its text, and what stands beside text in lists of parts.

    content_of([{"type": "thinking", "thinking": "4+38"}, {"type": "text", "text": "42"}], "messages[1].content")
    -> Content(text="42", trace="4+38")

Parts are OpenAI's (`text`), Anthropic's (`text`, `thinking`, `tool_use`, `tool_result`) and Bedrock's (the same without `type`).
"""

import re
from dataclasses import dataclass, field
from typing import Any

from stages.rows.types import Fields
from stages.rows.values import ENCODE, Unreadable, type_of

TEXT_TYPES = ("text", "input_text", "output_text")
# without an opening tag, as where the prompt has opened the thought, the closing one stands in a line of its own
UNOPENED_THOUGHT = re.compile(r"(?:\A|\n)[ \t]*</think>[ \t]*(?:\n|\Z)")


@dataclass
class Content:
    """text: None where there are calls alone. calls: `tool_calls`. results: (id of the call, text) of what tools found."""

    text: str | None = None
    trace: str = ""
    calls: list[Fields] = field(default_factory=list)
    results: list[tuple[str | None, str]] = field(default_factory=list)


def content_of(value: object, where: str) -> Content:
    """The Content of a text or of a list of parts."""
    if isinstance(value, str):
        return Content(value)
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise Unreadable("ingest.wrong_type", f"{where}: expected text, found {type_of(value)}")
    found, texts, traces, others = Content(), [], [], set()
    for part in value:
        kind, said = part_type_and_value(part)
        if kind in TEXT_TYPES:
            texts.append(text_of(said, where))
        elif kind in ("thinking", "reasoning"):
            traces.append(text_of(said, where))
        elif kind == "tool_use" and isinstance(said, dict):
            call = {"id": said.get("id") or said.get("toolUseId"), "type": "function"}
            found.calls.append(call | {"function": {"name": said.get("name"), "arguments": said.get("input") or {}}})
        elif kind == "tool_result" and isinstance(said, dict):
            result = said.get("content") if said.get("content") is not None else ""
            found.results.append(
                (call_id(said.get("tool_use_id") or said.get("toolUseId")), tool_result_text(result, where))
            )
        else:
            others.add(kind)
    if others:
        raise Unreadable(
            "ingest.multimodal", f"{where}: only text can be trained on, found {', '.join(sorted(others))}"
        )
    found.text = "".join(texts) if texts or not (found.calls or found.results) else None
    found.trace = "\n".join(traces)
    return found


def call_id(value: object) -> str | None:
    """The id of a call as text; None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def part_type_and_value(part: Fields) -> tuple[str, Any]:
    """(kind, what it says) of a part of a content."""
    kind = part.get("type")
    if kind in ("tool_use", "tool_result"):
        return kind, part
    if isinstance(kind, str):
        return kind, part.get(kind, part.get("text"))
    if kind is not None:
        return f"a type that is {type_of(kind)}", None
    said = {key: value for key, value in part.items() if value is not None}
    for key, kind in (("toolUse", "tool_use"), ("toolResult", "tool_result"), ("text", "text")):
        if set(said) == {key}:
            return kind, said[key]
    return ", ".join(sorted(said)) or "nothing", None


def text_of(value: object, where: str) -> str:
    """A text: as it is, or joined from a list of text parts."""
    if isinstance(value, str):
        return value
    found = content_of(value, where)
    if found.text is None or found.calls or found.results or found.trace:
        raise Unreadable("ingest.wrong_type", f"{where}: expected text alone, found calls, results or thoughts")
    return found.text


def tool_result_text(value: object, where: str) -> str:
    """What a tool found, as text: an object is its JSON."""
    if isinstance(value, list) and value and all(isinstance(part, dict) and set(part) == {"json"} for part in value):
        value = value[0]["json"] if len(value) == 1 else [part["json"] for part in value]  # Bedrock's
    if isinstance(value, dict):
        return ENCODE(value).decode()
    if isinstance(value, list) and not all(
        isinstance(part, dict) and ("type" in part or "text" in part) for part in value
    ):
        return ENCODE(value).decode()
    return text_of(value, where)


def split_thought(text: str) -> tuple[str | None, str]:
    """(trace, answer) of a text that begins with a thought, `<think>...</think>`; (None, text) of any other."""
    before, closed, after = text.partition("</think>")
    if not closed:
        return None, text
    opened = before.lstrip()
    if opened.startswith("<think>"):
        return opened.removeprefix("<think>").strip() or None, after.lstrip()
    if "<think>" not in before and (found := UNOPENED_THOUGHT.search(text)):
        return text[: found.start()].strip() or None, text[found.end() :].lstrip()
    return None, text
