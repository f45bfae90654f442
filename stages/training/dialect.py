"""How a chat template reads messages. Each question is tried once on a short conversation, so rows do not affect each other.

    Dialect(render.text).convert([{"role": "assistant", "content": "a", "reasoning_content": "t"}])
    -> [{"role": "assistant", "content": "<think>\\nt\\n</think>\\n\\na"}]    # if the template has no reasoning

A conversion never changes what messages say, only its place: a list of parts or a text, under a key or in the content.
The ids of calls are the one exception: some templates refuse the ids of most rows. An id only tells which call is answered.
"""

from collections.abc import Callable, Iterable
from functools import cached_property

from stages.training.messages import FailedProof, change_arguments, dump_arguments
from stages.training.types import ChatMessage, Tools

QUESTION = {"role": "user", "content": "Qasked"}
ANSWER = {"role": "assistant", "content": "Qanswer"}
CALL = {"type": "function", "function": {"name": "Qname", "arguments": {"Qkey": "Qvalue"}}}
TOOL = {
    "name": "Qname",
    "description": "Qabout",
    "parameters": {"type": "object", "properties": {"Qkey": {"type": "string", "description": "Qwhich"}}},
}
TOOLS = [{"type": "function", "function": TOOL}]
CALL_ID = "{:09}"  # nine digits, as Mistral's templates ask for


class Dialect:
    """text: what the template writes of messages and tools; it raises FailedProof if it refuses them."""

    def __init__(self, text: Callable[..., str]) -> None:
        self.text = text

    def convert(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        """The messages of a whole conversation (see `normalise_message`) as the template takes them."""
        if any("reasoning_content" in message for message in messages):
            place_thought = thought_in_content if self.reads_thoughts_in_content else thought_as_key
            messages = [place_thought(message) for message in messages]
        if any("tool_calls" in message for message in messages):
            if self.reads_text_arguments:
                messages = [*map(arguments_as_text, messages)]
            if self.needs_ids:
                messages = number_calls(messages)
        return self.convert_content(messages)

    @cached_property
    def reads_parts(self) -> bool:
        """Whether the template reads content only as a list of parts, as templates of vision models do."""
        return not self.shows("Qasked", [QUESTION]) and self.shows("Qasked", [content_as_parts(QUESTION)])

    @cached_property
    def reads_thoughts_in_content(self) -> bool:
        """Whether the template shows a thought only as part of the content. Some templates show none at all."""
        talk = [QUESTION, ANSWER | {"reasoning_content": "Qthought"}]
        return not self.shows("Qthought", self.convert_content(map(thought_as_key, talk))) and self.shows(
            "Qthought", self.convert_content(map(thought_in_content, talk))
        )

    @cached_property
    def reads_text_arguments(self) -> bool:
        """Whether the template reads arguments of calls as JSON text. Printing a Python object does not count as reading it."""
        talk = [QUESTION, ANSWER | {"content": "", "tool_calls": [CALL | {"id": CALL_ID.format(1)}]}]
        return not self.shows("Qvalue", self.convert_content(talk), TOOLS, but="'Qkey'") and self.shows(
            "Qvalue", self.convert_content(map(arguments_as_text, talk)), TOOLS
        )

    @cached_property
    def needs_ids(self) -> bool:
        """Whether calls need ids of nine letters or digits."""
        return self.takes_ids(CALL_ID.format(1)) and not (self.takes_ids("call_Qid") and self.takes_ids(None))

    def takes_ids(self, id: str | None) -> bool:
        """Whether the template accepts this id of a call; None: a call without one."""
        call, result = CALL, {"role": "tool", "name": "Qname", "content": "Qfound"}
        if id:
            call, result = CALL | {"id": id}, result | {"tool_call_id": id}
        talk = [QUESTION, ANSWER | {"content": "", "tool_calls": [call]}, result, ANSWER]
        if self.reads_text_arguments:
            talk = map(arguments_as_text, talk)
        return self.shows("", self.convert_content(talk), TOOLS)

    def convert_content(self, messages: Iterable[ChatMessage]) -> list[ChatMessage]:
        return [content_as_parts(message) if self.reads_parts else message for message in messages]

    def shows(
        self, words: str, messages: list[ChatMessage], tools: Tools | None = None, but: str | None = None
    ) -> bool:
        """Whether the template accepts the messages, and its text has `words` and does not have `but`."""
        try:
            text = self.text(messages, tools)
        except FailedProof:
            return False
        return words in text and not (but and but in text)


# -- messages in another form ---------------------------------------------------------------------------------------


def content_as_parts(message: ChatMessage) -> ChatMessage:
    return message | {"content": [{"type": "text", "text": message["content"]}]}


def thought_as_key(message: ChatMessage) -> ChatMessage:
    """The message with its thought under both keys that templates look for."""
    return message | {"thinking": message["reasoning_content"]} if message.get("reasoning_content") else message


def thought_in_content(message: ChatMessage) -> ChatMessage:
    """The message with its thought before the answer, as most models write it."""
    if not (thought := message.get("reasoning_content", "").strip("\n")):
        return message
    rest = {key: value for key, value in message.items() if key != "reasoning_content"}
    return rest | {"content": f"<think>\n{thought}\n</think>\n\n{message['content']}"}


def arguments_as_text(message: ChatMessage) -> ChatMessage:
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [change_arguments(call, dump_arguments) for call in message["tool_calls"]]}


def number_calls(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Messages with numbers as ids of calls, and each result of a tool with the id of the call that it answers."""
    numbered, number, numbers, open_calls = [], 0, {}, []
    for message in messages:
        if "tool_calls" in message:
            calls = []
            for call in message["tool_calls"]:
                number += 1
                calls.append(call | {"id": CALL_ID.format(number)})
                numbers[call.get("id")] = CALL_ID.format(number)
                open_calls.append(CALL_ID.format(number))
            message = message | {"tool_calls": calls}
        elif message["role"] == "tool":
            # a result without an id answers the first call that has no answer yet
            named = numbers.get(message["tool_call_id"]) if "tool_call_id" in message else None
            id = named or next(iter(open_calls), CALL_ID.format(0))
            open_calls = [call for call in open_calls if call != id]
            message = message | {"tool_call_id": id}
        numbered.append(message)
    return numbered
