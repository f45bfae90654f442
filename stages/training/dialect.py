"""How a chat template reads messages: tried once on a short conversation, so that no row decides what becomes of another.

    Dialect(render.text).written([{"role": "assistant", "content": "a", "reasoning_content": "t"}])
    -> [{"role": "assistant", "content": "<think>\\nt\\n</think>\\n\\na"}]    # where the template knows no reasoning

What messages hold is never changed by it, only where it stands: in a list of parts or a text, under a key or in the content.
The ids of calls alone are others where a template refuses those of most rows: they say nothing but which call is answered.
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
    """text: what the template writes of messages and tools; it raises Unproved where it refuses them."""

    def __init__(self, text: Callable[..., str]) -> None:
        self.text = text

    def written(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        """The messages of a whole conversation (`as_templates_read`) as the template takes them."""
        if any("reasoning_content" in message for message in messages):
            put = thought_in_content if self.reads_thoughts_in_content else thought_as_key
            messages = [put(message) for message in messages]
        if any("tool_calls" in message for message in messages):
            if self.reads_text_arguments:
                messages = [*map(arguments_as_text, messages)]
            if self.needs_ids:
                messages = number_calls(messages)
        return self.put(messages)

    @cached_property
    def reads_parts(self) -> bool:
        """Whether the content is read as a list of parts alone, as templates of models that see do."""
        return not self.shows("Qasked", [QUESTION]) and self.shows("Qasked", [content_as_parts(QUESTION)])

    @cached_property
    def reads_thoughts_in_content(self) -> bool:
        """Whether a thought is shown in the content, and under no key of its own. Some templates show none at all."""
        talk = [QUESTION, ANSWER | {"reasoning_content": "Qthought"}]
        return not self.shows("Qthought", self.put(map(thought_as_key, talk))) and self.shows(
            "Qthought", self.put(map(thought_in_content, talk))
        )

    @cached_property
    def reads_text_arguments(self) -> bool:
        """Whether the arguments of calls are read as JSON text; printed as Python writes an object is not read."""
        talk = [QUESTION, ANSWER | {"content": "", "tool_calls": [CALL | {"id": CALL_ID.format(1)}]}]
        return not self.shows("Qvalue", self.put(talk), TOOLS, but="'Qkey'") and self.shows(
            "Qvalue", self.put(map(arguments_as_text, talk)), TOOLS
        )

    @cached_property
    def needs_ids(self) -> bool:
        """Whether calls need ids of nine letters and digits."""
        return self.takes_ids(CALL_ID.format(1)) and not (self.takes_ids("call_Qid") and self.takes_ids(None))

    def takes_ids(self, id: str | None) -> bool:
        call, found = CALL, {"role": "tool", "name": "Qname", "content": "Qfound"}
        if id:
            call, found = CALL | {"id": id}, found | {"tool_call_id": id}
        talk = [QUESTION, ANSWER | {"content": "", "tool_calls": [call]}, found, ANSWER]
        if self.reads_text_arguments:
            talk = map(arguments_as_text, talk)
        return self.shows("", self.put(talk), TOOLS)

    def put(self, messages: Iterable[ChatMessage]) -> list[ChatMessage]:
        return [content_as_parts(message) if self.reads_parts else message for message in messages]

    def shows(
        self, words: str, messages: list[ChatMessage], tools: Tools | None = None, but: str | None = None
    ) -> bool:
        """Whether the template takes messages and writes words of them, and not others."""
        try:
            text = self.text(messages, tools)
        except FailedProof:
            return False
        return words in text and not (but and but in text)


# -- messages in another form ---------------------------------------------------------------------------------------


def content_as_parts(message: ChatMessage) -> ChatMessage:
    return message | {"content": [{"type": "text", "text": message["content"]}]}


def thought_as_key(message: ChatMessage) -> ChatMessage:
    """A thought under both names that templates look for."""
    return message | {"thinking": message["reasoning_content"]} if message.get("reasoning_content") else message


def thought_in_content(message: ChatMessage) -> ChatMessage:
    """A thought as most models write it, before the answer."""
    if not (thought := message.get("reasoning_content", "").strip("\n")):
        return message
    rest = {key: value for key, value in message.items() if key != "reasoning_content"}
    return rest | {"content": f"<think>\n{thought}\n</think>\n\n{message['content']}"}


def arguments_as_text(message: ChatMessage) -> ChatMessage:
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [change_arguments(call, dump_arguments) for call in message["tool_calls"]]}


def number_calls(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Messages whose calls are numbered, and what tools found with the number of the call that it answers."""
    found, number, numbers, open_calls = [], 0, {}, []
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
            # without an id of its own it answers the first call that is not answered yet
            named = numbers.get(message["tool_call_id"]) if "tool_call_id" in message else None
            id = named or next(iter(open_calls), CALL_ID.format(0))
            open_calls = [call for call in open_calls if call != id]
            message = message | {"tool_call_id": id}
        found.append(message)
    return found
