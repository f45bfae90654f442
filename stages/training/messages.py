"""What a message holds, and whether a text that a chat template wrote of it has all of that.

missing_of({"role": "assistant", "content": "a\nb"}, "<|assistant|>a<|end|>") -> "b"
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stages.training.types import ChatMessage, Tools


class FailedProof(Exception):
    """A row that cannot be learned as it is. proof: one of docs/preflight.md's. message: its place."""

    def __init__(self, proof: str, message: int | None, detail: str) -> None:
        super().__init__(f"{proof}: {detail}" if message is None else f"{proof} of message {message + 1}: {detail}")
        self.proof, self.message, self.detail = proof, message, detail


def normalise_message(message: Mapping[str, Any]) -> ChatMessage:
    """What a message holds: without keys that hold nothing, its content a text, the arguments of its calls objects.

    Templates ask whether `tool_calls` is defined, add to `content` as a text, and write arguments as JSON themselves.
    `train` says what is learned, and is nothing that was said.
    """
    found = {key: value for key, value in message.items() if value is not None and key != "train"}
    found.setdefault("content", "")
    if not found.get("reasoning_content", "").strip():
        found.pop("reasoning_content", None)
    if calls := found.pop("tool_calls", None):
        found["tool_calls"] = [change_arguments(call, parse_arguments) for call in calls]
    return found


def change_arguments(call: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A call with its arguments changed; it may stand in `function`, as OpenAI's do."""
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
    """Raise Unproved where the template left out what was said to the assistant, or the definition of a tool.

    first: the place of the first of these messages in its conversation.
    """
    for place, message in enumerate(messages, first):
        missing = find_missing_line(message["content"], text)[0]
        if missing and message["role"] == "tool" and is_in_text(message["content"], text):
            missing = None  # templates may write what a tool found as JSON
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
    """What a message of the assistant holds that its text does not: a line, a call's name or value; None if nothing."""
    thought, behind = find_missing_line(message.get("reasoning_content", ""), text)
    # the answer is sought behind the thought, which often says it already
    missing = thought or find_missing_line(message["content"], text, behind)[0] or missing_call_value(message, text)
    if missing:
        return missing
    if "</think>" in message["content"] and message["content"].strip() not in text:
        return "</think>"  # the template took what stands before it for a thought
    return "None" if "None" in text and "None" not in json.dumps(message, ensure_ascii=False) else None


def find_missing_line(said: str, text: str, at: int = 0) -> tuple[str | None, int]:
    """(the first line of what is said that is not in the text, None if none; where the last one ends that is there).

    Each line is sought behind the one before, white space at its ends aside.
    """
    for line in said.splitlines():
        if line := line.strip():
            found = text.find(line, at)
            if found < 0:
                return line, at
            at = found + len(line)
    return None, at


def missing_call_value(message: ChatMessage, text: str) -> str | None:
    """The first name or value of a call that is not in the text."""
    for call in message.get("tool_calls") or []:
        function = call.get("function") or call
        values = leaves(parse_arguments(function.get("arguments")))
        for value in (function.get("name"), *values):
            if value not in (None, "") and not is_in_text(value, text):
                return str(value)
    return None


def leaves(value: Any) -> Iterator[Any]:
    """The keys and the values, down to texts and numbers, of the arguments of a call."""
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
    """Whether a name, text or number stands in a text, by itself or as JSON writes it."""
    if isinstance(value, bool):
        return str(value) in text or json.dumps(value) in text
    if not isinstance(value, str):
        return json.dumps(value) in text
    return value in text or any(json.dumps(value, ensure_ascii=ascii)[1:-1] in text for ascii in (False, True))


def shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
