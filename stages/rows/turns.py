"""Parts of a record: messages from the styles in which they are written. What cannot be read raises Unreadable.

turn_of({"from": "human", "value": "Hi"}, "conversations[0]") -> {"role": "user", "content": "Hi", "tool_calls": None}
"""

import re

import msgspec

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
    "function_response": "tool",
}
TYPES = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
ENCODE = msgspec.json.Encoder().encode
CONVERSATION_KEYS = ("conversations", "conversation", "messages")
PROMPT_KEYS = ("prompt", "question", "problem", "query")
TRUTH_KEYS = ("ground_truth", "solution", "answer", "target")
SYSTEM_KEYS = ("system", "system_prompt")
ANSWER_KEYS = ("completion", "response", "output", "chosen", "rejected", "preferred_output", "non_preferred_output")
# every key that some shape knows, also by the name that `columns:` may give it
KEYS = {
    *CONVERSATION_KEYS, *PROMPT_KEYS, *TRUTH_KEYS, *SYSTEM_KEYS, *ANSWER_KEYS,
    "instruction", "input", "context", "history", "label", "tools", "functions",
}  # fmt: skip
# they change what is to be learned from a turn, and no column keeps them
TURN_UNSUPPORTED = {"reasoning_content", "reasoning", "thinking", "weight", "loss", "train"}
MEDIA = {"image", "images", "video", "videos", "audio", "audios"}
HH_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


class Unreadable(Exception):
    """This record cannot become a row: (check, detail)."""

    def __init__(self, check, detail):
        super().__init__(detail)
        self.check, self.detail = check, detail


def type_of(value):
    """The type of a value in words."""
    return TYPES.get(type(value), type(value).__name__)


def has(record, key):
    """True where a record says something under a key: null is as good as absent."""
    return record.get(key) is not None


def key_of(record, keys):
    """The first of `keys` that the record has, with a value if one of them has a value."""
    for key in keys:
        if has(record, key):
            return key
    for key in keys:
        if key in record:
            return key
    raise Unreadable("ingest.missing_key", f"expected one of {', '.join(keys)}")


def first(record, keys):
    """The value under the first of `keys` that the record has."""
    return record[key_of(record, keys)]


def text_of(value, where):
    """A text: as it is, or joined from a list of text parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        kinds = sorted({str(part.get("type")) for part in value if part.get("type") != "text"})
        if kinds:
            raise Unreadable("ingest.multimodal", f"{where}: only text can be trained on, found {', '.join(kinds)}")
        return "".join(text_of(part.get("text"), where) for part in value)
    raise Unreadable("ingest.wrong_type", f"{where}: expected text, found {type_of(value)}")


# -- messages -----------------------------------------------------------------------------------------------------


def turn_of(turn, where):
    """One message `{role, content, tool_calls}` from ChatML's or ShareGPT's keys."""
    if not isinstance(turn, dict):
        raise Unreadable("ingest.wrong_type", f"{where}: expected an object, found {type_of(turn)}")
    role = text_of(first(turn, ("role", "from")), f"{where}.role")
    for key in sorted(turn.keys() & TURN_UNSUPPORTED):
        # a weight of 1, loss: true and train: true say what holds anyway
        if turn[key] not in (None, "", True) and ROLES.get(role, role) == "assistant":
            raise Unreadable("ingest.unsupported_key", f"{where}.{key}: no dataset can hold it; remove or inline it")
    calls = turn.get("tool_calls")
    if role == "function_call":
        return {"role": "assistant", "content": None, "tool_calls": call_of(first(turn, ("value", "content")), where)}
    if not calls and isinstance(turn.get("function_call"), dict):
        calls = [{"type": "function", "function": turn["function_call"]}]
    content = first(turn, ("content", "value")) if not calls else turn.get("content", turn.get("value"))
    return {
        "role": ROLES.get(role, role),
        "content": None if calls and content is None else text_of(content, f"{where}.content"),
        "tool_calls": objects_of(calls, f"{where}.tool_calls"),
    }


def call_of(value, where):
    """ShareGPT's function call, JSON text with name and arguments, as JSON text of `tool_calls`."""
    call = value if isinstance(value, dict) else _decoded(text_of(value, where))
    if not isinstance(call, dict):
        raise Unreadable("ingest.wrong_type", f"{where}: the function call is no JSON object")
    return ENCODE([{"type": "function", "function": call}]).decode()


def objects_of(value, where):
    """A list of objects as JSON text, given as the list or as JSON text itself; None where there is none."""
    if isinstance(value, str) and value:
        value = _decoded(value, where)
    if not value and value != 0:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list of objects")
    return ENCODE(value).decode()


def _decoded(text, where=None):
    """The value of a JSON text; what does not parse is None, or raises if `where` is given."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if where is None:
            return None
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list or its JSON text") from None


def turns_of(value, where):
    """A conversation as messages, given as a list or, in CSV, as its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _decoded(value, where)
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else type_of(value)
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list of messages, found {found}")
    return [turn_of(turn, f"{where}[{i}]") for i, turn in enumerate(value)]


def answer_of(value, where):
    """An answer as messages: a text is an assistant's turn, one message may stand without a list."""
    if isinstance(value, list):
        return turns_of(value, where)
    if isinstance(value, dict):
        return [turn_of(value, where)]
    return [assistant(text_of(value, where))]


def user(text):
    return {"role": "user", "content": text, "tool_calls": None}


def assistant(text):
    return {"role": "assistant", "content": text, "tool_calls": None}


def system(text):
    return {"role": "system", "content": text, "tool_calls": None}


def hh_turns(text):
    """Messages of Anthropic's HH style, `\\n\\nHuman: ...\\n\\nAssistant: ...`, or None where a text is not so written."""
    if not isinstance(text, str) or not text.lstrip().startswith("Human:") or "\n\nAssistant:" not in text:
        return None
    _, *found = HH_TURN.split(text.lstrip())
    turns = zip(found[::2], found[1::2], strict=True)
    return [(user if who == "Human" else assistant)(said.strip()) for who, said in turns]


# -- prompts ------------------------------------------------------------------------------------------------------


def prompt_of(record, key):
    """A record's prompt under a key as messages: a text is a user's turn, behind the record's `history` if it has one."""
    value = record[key]
    if isinstance(value, list) or key in CONVERSATION_KEYS:
        return turns_of(value, key)
    text = text_of(value, key)
    extra, name = (record.get("input"), "input") if key == "instruction" else (record.get("context"), "context")
    if isinstance(extra, list) and extra and all(isinstance(line, str) for line in extra):
        extra = "\n".join(extra)
    if extra:
        text = f"{text}\n{text_of(extra, name)}"
    return [*history_of(record.get("history")), user(text)]


def history_of(value):
    """Earlier turns, given as pairs or objects of question and answer, or as messages; in CSV as JSON text of these."""
    if isinstance(value, str) and value:
        value = _decoded(value, "history")
    if not value:
        return []
    if not isinstance(value, list):
        raise Unreadable("ingest.wrong_type", f"history: expected a list, found {type_of(value)}")
    turns = []
    for i, item in enumerate(value):
        where = f"history[{i}]"
        if isinstance(item, list) and len(item) == 2:
            turns += [user(text_of(item[0], where)), assistant(text_of(item[1], where))]
        elif isinstance(item, dict) and not item.keys() & {"role", "from"}:
            turns += [user(text_of(first(item, PROMPT_KEYS), where))]
            turns += [assistant(text_of(first(item, ("response", "answer")), where))]
        else:
            turns.append(turn_of(item, where))
    return turns


def with_system(turns, text):
    """The messages, with a system turn before them unless they begin with the very same."""
    if turns and turns[0]["role"] == "system":
        if turns[0]["content"] == text:
            return turns
        raise Unreadable("ingest.two_system_turns", "the record and its first message give different system turns")
    return [system(text), *turns]
