"""What a message holds, and whether the text that a chat template wrote for it has all of it.

missing_text({"role": "assistant", "content": "a\nb"}, "<|assistant|>a<|end|>") -> "b"
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stages.training.types import ChatMessage, Tools


class FailedProof(Exception):
    """A row that fails a proof, so it is not learned. proof: see docs/preflight.md. message: its position, None for the whole row."""

    def __init__(self, proof: str, message: int | None, detail: str) -> None:
        super().__init__(f"{proof}: {detail}" if message is None else f"{proof} of message {message + 1}: {detail}")
        self.proof, self.message, self.detail = proof, message, detail


def normalise_message(message: Mapping[str, Any]) -> ChatMessage:
    """The message without empty keys and `train`, its content a text, the arguments of its calls objects.

    Templates test whether `tool_calls` is defined, append to `content` as a text, and write arguments as JSON themselves.
    `train` only says what is learned.
    """
    normalised = {key: value for key, value in message.items() if value is not None and key != "train"}
    normalised.setdefault("content", "")
    if not normalised.get("reasoning_content", "").strip():
        normalised.pop("reasoning_content", None)
    if calls := normalised.pop("tool_calls", None):
        normalised["tool_calls"] = [change_arguments(call, parse_arguments) for call in calls]
    return normalised


def change_arguments(call: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A call with `change` applied to its arguments, which may be under `function`, as in OpenAI's format."""
    if isinstance(call.get("function"), dict):
        return call | {"function": change_arguments(call["function"], change)}
    return call | {"arguments": change(call["arguments"])} if "arguments" in call else call


def parse_arguments(arguments: Any) -> Any:
    if isinstance(arguments, str):
        try:
            return json.loads(arguments)
        except ValueError:
            return arguments
    return arguments


def dump_arguments(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


# -- what must be in the text -------------------------------------------------------------------------------------


def check_context(messages: Sequence[ChatMessage], tools: Tools | None, text: str, first: int = 0) -> None:
    """Raise FailedProof if the template left out a message to the assistant, or the definition of a tool.

    first: the position of the first of these messages in the conversation.
    """
    for place, message in enumerate(messages, first):
        missing = find_missing_line(message["content"], text)[0]
        if missing and message["role"] == "tool" and is_in_text(message["content"], text):
            missing = None  # templates may write the result of a tool as JSON
        if missing and message["role"] != "assistant":
            raise FailedProof("CONTEXT", place, f"{shorten(missing)!r} of the {message['role']} is not in the text")
    for tool in tools or []:
        function = tool.get("function") or tool
        names = [function.get("name"), *((function.get("parameters") or {}).get("properties") or {})]
        if missing := next((name for name in names if name and not is_in_text(name, text)), None):
            raise FailedProof(
                "TOOLS", None, f"the definition of the tool {names[0]!r} is not in the text ({missing!r})"
            )


def missing_text(message: ChatMessage, text: str) -> str | None:
    """What is missing from the text of an assistant's message: a line, or a call's name or value; None if nothing is."""
    thought, thought_end = find_missing_line(message.get("reasoning_content", ""), text)
    # search the answer after the thought, which often contains it
    missing = (
        thought or find_missing_line(message["content"], text, thought_end)[0] or missing_call_value(message, text)
    )
    if missing:
        return missing
    if "</think>" in message["content"] and message["content"].strip() not in text:
        return "</think>"  # the template took the text before it for a thought
    return "None" if "None" in text and "None" not in json.dumps(message, ensure_ascii=False) else None


def find_missing_line(content: str, text: str, at: int = 0) -> tuple[str | None, int]:
    """(the first line of `content` that is not in the text, or None; where the last line that was found ends).

    Each line is searched after the one before it, without the white space at its ends.
    """
    for line in content.splitlines():
        if line := line.strip():
            start = text.find(line, at)
            if start < 0:
                return line, at
            at = start + len(line)
    return None, at


def missing_call_value(message: ChatMessage, text: str) -> str | None:
    """The first name or value of a call that is not in the text; None if all are."""
    for call in message.get("tool_calls") or []:
        function = call.get("function") or call
        values = leaves(parse_arguments(function.get("arguments")))
        for value in (function.get("name"), *values):
            if value not in (None, "") and not is_in_text(value, text):
                return str(value)
    return None


def leaves(value: Any) -> Iterator[Any]:
    """All keys and values in the arguments of a call, down to texts and numbers."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def is_in_text(value: Any, text: str) -> bool:
    """Whether a text contains a name, text or number, as it is or as JSON writes it."""
    if isinstance(value, bool):
        return str(value) in text or json.dumps(value) in text
    if not isinstance(value, str):
        return json.dumps(value) in text
    return value in text or any(json.dumps(value, ensure_ascii=ascii)[1:-1] in text for ascii in (False, True))


def shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
