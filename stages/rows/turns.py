"""The messages of a record, in any of the known styles. What cannot be read raises Unreadable.

    turns_of([{"from": "human", "value": "Hi"}], "conversations") -> [{"role": "user", "content": "Hi", "tool_calls": None}]

A message has the keys `reasoning_content`, `name`, `tool_call_id` and `train` (stages/rows/tables.py) only if they have a value.
"""

import re
from typing import cast

from stages.rows.calls import CONVERSATION_KEYS, calls_of
from stages.rows.content import Content, call_id, content_of, split_thought, text_of, tool_result_text
from stages.rows.types import Fields, Message
from stages.rows.values import Unreadable, first_value, has_value, parse_json_text, type_of

ROLES = {
    "User": "user",
    "Human": "user",
    "human": "user",
    "prompter": "user",
    "Assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "System": "system",
    "developer": "system",
    "ipython": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
}
PROMPT_KEYS = ("prompt", "question", "problem", "query")
TRUTH_KEYS = ("ground_truth", "solution", "answer", "target")
GRPO_TRUTH_KEYS = (
    "ground_truth",
    "answer",
    "solution",
    "target",
)  # a model can match an answer; a whole solution is for sft
SYSTEM_KEYS = ("system", "system_prompt")
ANSWER_KEYS = ("completion", "response", "output", "chosen", "rejected", "preferred_output", "non_preferred_output")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
# whether a turn is learned: true and 1 mean yes. `masked` means the opposite.
MARK_KEYS = ("train", "trainable", "loss", "loss_mask", "weight", "masked")
# every key that some shape reads, with the names that `columns:` may give
KNOWN_KEYS = {
    *CONVERSATION_KEYS, *PROMPT_KEYS, *TRUTH_KEYS, *SYSTEM_KEYS, *ANSWER_KEYS, *REASONING_KEYS, *MARK_KEYS,
    "instruction", "input", "context", "history", "label", "tools", "functions", "toolConfig",
}  # fmt: skip
# they say which characters of a turn are learned, which no column can hold
UNSUPPORTED_TURN_KEYS = ("train_detail", "training_detail")
MEDIA_KEYS = {"image", "images", "video", "videos", "audio", "audios"}
HH_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


# -- messages -----------------------------------------------------------------------------------------------------


def turns_of(value: object, where: str) -> list[Message]:
    """A conversation as messages, given as a list or, in CSV, as its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parse_json_text(value, where)
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else type_of(value)
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list of messages, found {found}")
    return merge_assistant_turns(
        [message for i, turn in enumerate(value) for message in messages_of(turn, f"{where}[{i}]")]
    )


def messages_of_exchange(turn: Fields, where: str) -> list[Message]:
    """XTuner's turn: a question with its answer, perhaps after a system turn."""
    before = [system(text_of(turn["system"], f"{where}.system"))] if turn.get("system") else []
    question = [user(text_of(turn["input"], f"{where}.input"))] if turn.get("input") else []
    answer = assistant(text_of(turn["output"], f"{where}.output"))
    if train_mark(turn, where) is False:
        answer["train"] = False
    return [*before, *question, answer]


def messages_of(turn: object, where: str) -> list[Message]:
    """The messages of a turn in ChatML's, ShareGPT's or Anthropic's keys: one, and one for each tool result in it."""
    if not isinstance(turn, dict):
        raise Unreadable("ingest.wrong_type", f"{where}: expected an object, found {type_of(turn)}")
    if not turn.keys() & {"role", "from"} and has_value(turn, "output"):
        return messages_of_exchange(turn, where)
    raw_role = text_of(first_value(turn, ("role", "from")), f"{where}.role")
    role = ROLES.get(raw_role, raw_role)
    learned = train_mark(turn, where, role)
    for key in sorted(MEDIA_KEYS & turn.keys()):
        if turn[key]:
            raise Unreadable("ingest.multimodal", f"{where}.{key}: only text can be trained on")
    if turn.get("refusal") and not any(turn.get(key) for key in ("content", "value", "tool_calls", "function_call")):
        hint = "write it as the content if it is to be learned"
        raise Unreadable("ingest.unsupported_key", f"{where}.refusal: a refusal instead of an answer; {hint}")
    if raw_role == "function_call":
        return [
            message("assistant", None, calls_from_json(first_value(turn, ("value", "content")), where), train=learned)
        ]
    calls = turn.get("tool_calls")
    if not calls and isinstance(turn.get("function_call"), dict):
        calls = [turn["function_call"]]
    value = first_value(turn, ("content", "value")) if not calls else turn.get("content", turn.get("value"))
    if role == "tool":
        call = call_id(turn.get("tool_call_id"))
        value = "" if value is None else value  # a tool may return nothing
        return [message(role, tool_result_text(value, f"{where}.content"), name=speaker_name(turn), call=call)]
    if calls and value is None:
        content = content_of([], where)
        content.text = None
    else:
        content = content_of(value, f"{where}.content")
    results = [message("tool", text, call=call) for call, text in content.results]
    calls = calls_of(calls or content.calls, f"{where}.tool_calls")
    if results and content.text is None and not calls:
        return results
    if role != "assistant":
        return [*results, message(role, content.text, calls)]
    trace, content.text = thought_and_text(turn, content, where)
    return [*results, message(role, content.text, calls, trace, train=learned)]


def message(
    role: str,
    content: str | None,
    calls: str | None = None,
    trace: str | None = None,
    name: str | None = None,
    call: str | None = None,
    train: bool | None = None,
) -> Message:
    """A message, its keys in the order of the tables. Of the optional keys, only `tool_calls` may be null."""
    optional = {"reasoning_content": trace, "name": name, "tool_call_id": call, "train": train}
    present = {key: value for key, value in optional.items() if value is not None}
    return cast(Message, {"role": role, "content": content, "tool_calls": calls} | present)


def thought_and_text(turn: Fields, content: Content, where: str) -> tuple[str | None, str | None]:
    """(trace, text) of an assistant turn. Its thought is under a key, in a part, or before the answer."""
    trace, text = split_thought(content.text) if content.text is not None else (None, None)
    thoughts = {text_of(turn[key], f"{where}.{key}").strip() for key in REASONING_KEYS if has_value(turn, key)}
    thoughts |= {content.trace.strip(), trace or ""}
    thoughts.discard("")
    if len(thoughts) > 1:
        raise Unreadable("ingest.unsupported_key", f"{where}: {len(thoughts)} different thoughts, but a turn has one")
    return next(iter(thoughts), None), text


def train_mark(holder: Fields, where: str, role: str = "assistant") -> bool | None:
    """False if a turn or a record is marked as not learned, else None."""
    for key in UNSUPPORTED_TURN_KEYS:
        if holder.get(key):
            raise Unreadable("ingest.unsupported_key", f"{where}.{key}: turns are learned as a whole, or not at all")
    marks = {key: holder[key] for key in MARK_KEYS if holder.get(key) not in (None, "")}
    if not marks:
        return None
    learned_by_key = {key: parse_mark(value, f"{where}.{key}") != (key == "masked") for key, value in marks.items()}
    if len(set(learned_by_key.values())) > 1:
        raise Unreadable("ingest.unsupported_key", f"{where}: {', '.join(learned_by_key)} contradict each other")
    if role != "assistant":
        # a weight of 1 is what every turn has by default
        if any(is_learned and key != "weight" for key, is_learned in learned_by_key.items()):
            raise Unreadable("ingest.unsupported_key", f"{where}: a turn by {role!r} is never learned")
        return None
    return None if all(learned_by_key.values()) else False


def parse_mark(value: object, where: str) -> bool:
    """Whether a mark is true. CSV has no booleans."""
    value = (
        {"true": True, "false": False, "1": True, "0": False}.get(value.lower(), value)
        if isinstance(value, str)
        else value
    )
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise Unreadable(
            "ingest.unsupported_key", f"{where}: a turn is learned (true, 1) or not (false, 0), found {value!r}"
        )
    return bool(value)


def speaker_name(turn: Fields) -> str | None:
    return turn["name"] if isinstance(turn.get("name"), str) and turn["name"] else None


def calls_from_json(value: object, where: str) -> str | None:
    """ShareGPT's function call, JSON text with name and arguments or a list of these, as JSON text of `tool_calls`."""
    calls = value if isinstance(value, (dict, list)) else parse_json_text(text_of(value, where))
    if not isinstance(calls, (dict, list)):
        raise Unreadable("ingest.wrong_type", f"{where}: the function call is not a JSON object")
    return calls_of(calls, where)


def merge_assistant_turns(turns: list[Message]) -> list[Message]:
    """Messages with consecutive assistant turns merged: several calls, or a text and the calls after it."""
    merged = []
    for turn in turns:
        before = merged[-1] if merged else None
        if (
            before
            and turn["tool_calls"]
            and not turn["content"]
            and before["role"] == turn["role"] == "assistant"
            and before.get("train") == turn.get("train")
            and not turn.get("reasoning_content")
        ):
            calls = (
                before["tool_calls"][:-1] + "," + turn["tool_calls"][1:] if before["tool_calls"] else turn["tool_calls"]
            )
            merged[-1] = before | {"tool_calls": calls}
        else:
            merged.append(turn)
    return merged


def answer_of(value: object, where: str) -> list[Message]:
    """An answer as messages: a text becomes an assistant turn, and one message may come without a list."""
    if isinstance(value, list):
        return turns_of(value, where)
    if isinstance(value, dict):
        return turns_of([value], where)
    return [assistant(text_of(value, where))]


def user(text: str) -> Message:
    return {"role": "user", "content": text, "tool_calls": None}


def assistant(text: str) -> Message:
    trace, text = split_thought(text)
    return message("assistant", text, trace=trace)


def system(text: str) -> Message:
    return {"role": "system", "content": text, "tool_calls": None}


def hh_turns(text: object) -> list[Message] | None:
    """Messages of Anthropic's HH style, `\\n\\nHuman: ...\\n\\nAssistant: ...`, or None for any other text."""
    if not isinstance(text, str) or not text.lstrip().startswith("Human:") or "\n\nAssistant:" not in text:
        return None
    _, *pieces = HH_TURN.split(text.lstrip())
    turns = zip(pieces[::2], pieces[1::2], strict=True)
    return [(user if who == "Human" else assistant)(words.strip()) for who, words in turns]


# -- prompts ------------------------------------------------------------------------------------------------------


def prompt_of(record: Fields, key: str) -> list[Message]:
    """A record's prompt under a key as messages: a text is a user turn, after the record's `history` if it has one.

    An empty turn of the assistant's at its end is the place of the answer, and no turn.
    """
    value = first_value(record, (key,))
    if isinstance(value, list) or key in CONVERSATION_KEYS:
        return without_place_of_answer(turns_of(value, key))
    text = text_of(value, key)
    if key in PROMPT_KEYS and (turns := hh_turns(text)):
        return without_place_of_answer(turns)
    for name in ("input", "context"):
        extra = record.get(name) if key != name else None
        if isinstance(extra, list) and extra and all(isinstance(line, str) for line in extra):
            extra = "\n".join(extra)
        if extra:
            text = f"{text}\n{text_of(extra, name)}"
    return [*history_of(record.get("history")), user(text)]


def without_place_of_answer(turns: list[Message]) -> list[Message]:
    return turns[:-1] if len(turns) > 1 and turns[-1] == assistant("") else turns


def history_of(value: object) -> list[Message]:
    """Earlier turns, given as pairs or objects of question and answer, or as messages; in CSV as JSON text of these."""
    if isinstance(value, str) and value:
        value = parse_json_text(value, "history")
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
            turns += [user(text_of(first_value(item, PROMPT_KEYS), where))]
            turns += [assistant(text_of(first_value(item, ("response", "answer")), where))]
        else:
            turns += messages_of(item, where)
    return turns


def with_system(turns: list[Message], text: str) -> list[Message]:
    """The messages, with a system turn before them unless they begin with the same one."""
    if turns and turns[0]["role"] == "system":
        if turns[0]["content"] == text:
            return turns
        raise Unreadable("ingest.two_system_turns", "the record and its first message give different system turns")
    return [system(text), *turns]
