"""The content of a message: its text, and the other parts of a list of parts.

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
# where the prompt has opened the thought, there is no opening tag, and the closing tag is a line of its own
UNOPENED_THOUGHT = re.compile(r"(?:\A|\n)[ \t]*</think>[ \t]*(?:\n|\Z)")


@dataclass
class Content:
    """text: None if there are only calls. calls: `tool_calls`. results: (id of the call, text) of tool results."""

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
    content, texts, traces, other_types = Content(), [], [], set()
    for part in value:
        part_type, part_value = part_type_and_value(part)
        if part_type in TEXT_TYPES:
            texts.append(text_of(part_value, where))
        elif part_type in ("thinking", "reasoning"):
            traces.append(text_of(part_value, where))
        elif part_type == "tool_use" and isinstance(part_value, dict):
            call = {"id": part_value.get("id") or part_value.get("toolUseId"), "type": "function"}
            content.calls.append(
                call | {"function": {"name": part_value.get("name"), "arguments": part_value.get("input") or {}}}
            )
        elif part_type == "tool_result" and isinstance(part_value, dict):
            result = part_value.get("content") if part_value.get("content") is not None else ""
            content.results.append(
                (call_id(part_value.get("tool_use_id") or part_value.get("toolUseId")), tool_result_text(result, where))
            )
        else:
            other_types.add(part_type)
    if other_types:
        raise Unreadable(
            "ingest.multimodal", f"{where}: only text can be trained on, found {', '.join(sorted(other_types))}"
        )
    content.text = "".join(texts) if texts or not (content.calls or content.results) else None
    content.trace = "\n".join(traces)
    return content


def call_id(value: object) -> str | None:
    """The id of a call as text, or None if the value is not an id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def part_type_and_value(part: Fields) -> tuple[str, Any]:
    """(type, value) of one part of a content."""
    part_type = part.get("type")
    if part_type in ("tool_use", "tool_result"):
        return part_type, part
    if isinstance(part_type, str):
        return part_type, part.get(part_type, part.get("text"))
    if part_type is not None:
        return f"a type that is {type_of(part_type)}", None
    present = {key: value for key, value in part.items() if value is not None}
    for key, part_type in (("toolUse", "tool_use"), ("toolResult", "tool_result"), ("text", "text")):
        if set(present) == {key}:
            return part_type, present[key]
    return ", ".join(sorted(present)) or "nothing", None


def text_of(value: object, where: str) -> str:
    """A text: as it is, or joined from a list of text parts."""
    if isinstance(value, str):
        return value
    content = content_of(value, where)
    if content.text is None or content.calls or content.results or content.trace:
        raise Unreadable("ingest.wrong_type", f"{where}: expected text alone, found calls, results or thoughts")
    return content.text


def tool_result_text(value: object, where: str) -> str:
    """A tool result as text; an object becomes its JSON."""
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
    before, closing_tag, after = text.partition("</think>")
    if not closing_tag:
        return None, text
    thought = before.lstrip()
    if thought.startswith("<think>"):
        return thought.removeprefix("<think>").strip() or None, after.lstrip()
    if "<think>" not in before and (match := UNOPENED_THOUGHT.search(text)):
        return text[: match.start()].strip() or None, text[match.end() :].lstrip()
    return None, text
