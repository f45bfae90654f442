"""The keys inside the turns of a record that no row uses. stages/rows/key_account.py has those of the record itself.

    list(unused_in_turns([{"role": "assistant", "content": "a", "refusal": "No."}], "messages", "chatml", "messages"))
    -> [("messages[].refusal", "answer", "No.")]

Turns are objects in lists: messages, earlier turns of `history`, the answers of a scored record, the instances of a seed task.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from stages.rows.calls import CONVERSATION_KEYS
from stages.rows.choices import INNER_SCORE_KEYS, INNER_TEXT_KEYS, RESPONSE_KEYS
from stages.rows.key_meanings import EMPTY_VALUES, meaning_in_turn
from stages.rows.turns import MARK_KEYS, PROMPT_KEYS, REASONING_KEYS, ROLES
from stages.rows.types import Fields
from stages.rows.values import parse_json_text

UnusedValues = Iterator[tuple[str, str | None, object]]  # (name, meaning, value)
PLAIN_KEYS = ({"role", "content"}, {"from", "value"})
ROLE_KEYS, CONTENT_KEYS, CALL_KEYS = ("role", "from"), ("content", "value"), ("tool_calls", "function_call")


def single_keys(*keys: str) -> list[tuple[str, ...]]:
    return [(key,) for key in keys]


# {role of a turn, or its place if it has none: groups of keys}; of each group, the first key that it has is used
TURN_KEYS = [ROLE_KEYS, CONTENT_KEYS, *single_keys(*MARK_KEYS)]
KEYS_BY_FORM = {
    "assistant": [*TURN_KEYS, CALL_KEYS, *single_keys(*REASONING_KEYS)],
    "tool": [*TURN_KEYS, *single_keys("name", "tool_call_id")],
    "exchange": single_keys("system", "input", "output", *MARK_KEYS),  # XTuner's
    "history": [PROMPT_KEYS, ("response", "answer")],
    "instances": [("output", "response"), *single_keys("instruction", "input", "context", "history")],
    "scored": [INNER_TEXT_KEYS, (*INNER_SCORE_KEYS, "rank")],
}
KEYS_BY_PART = {
    "tool_use": {"type", "id", "toolUseId", "name", "input"},
    "tool_result": {"type", "tool_use_id", "toolUseId", "content"},
}
BEDROCK_PARTS = {"toolUse": "tool_use", "toolResult": "tool_result"}  # Bedrock's


def unused_in_turns(value: object, key: str, shape: str, name: str) -> UnusedValues:
    """The keys that no row uses in the turns under a key of a record. name: of that key in the file."""
    within = f"{name}[]."
    if isinstance(value, str):
        value = parse_json_text(value) if value.lstrip().startswith("[") else None  # a cell of CSV
    elif isinstance(value, dict):
        inner = value.get("messages")
        value, within = (inner, f"{name}.messages[].") if isinstance(inner, list) else ([value], f"{name}.")
    for turn in value if isinstance(value, list) else ():
        if isinstance(turn, dict) and (form := turn_form(turn, key, shape)):
            yield from unused_in_turn(turn, form, within)


def turn_form(turn: Fields, key: str, shape: str) -> str | None:
    """A turn's role, or its place if it has none. None if it is not a turn but an option or a ground truth."""
    if turn.keys() & {*ROLE_KEYS}:
        role = next((turn[name] for name in ROLE_KEYS if turn.get(name) is not None), "")
        return ROLES.get(role, role) if isinstance(role, str) else "unknown"
    if key in ("history", "instances"):
        return key
    if key in CONVERSATION_KEYS and turn.get("output") is not None:
        return "exchange"
    return "scored" if shape == "scored" and key in RESPONSE_KEYS else None


def unused_in_turn(turn: Fields, form: str, within: str) -> UnusedValues:
    """The unused keys of one turn and of the parts of its content. within: a prefix for names, as `messages[].`."""
    if turn.keys() not in PLAIN_KEYS:
        all_filled = all(turn.values())  # nearly always true: no key is empty
        keys = (
            tuple(turn)
            if all_filled
            else tuple(k for k, v in turn.items() if v is not None and (v or k not in CALL_KEYS))
        )
        for key in unused_turn_keys(form, keys):
            if (value := turn[key]) not in EMPTY_VALUES:
                is_score = form == "scored" and key not in INNER_TEXT_KEYS  # a key that the answer was judged with
                speaker = "assistant" if form == "scored" else form
                yield f"{within}{key}", None if is_score else meaning_in_turn(key, value, speaker), value
    for key in CONTENT_KEYS:
        if isinstance(turn.get(key), list):
            yield from unused_in_parts(turn[key], form, f"{within}{key}[].")


@lru_cache(4096)
def unused_turn_keys(form: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of a turn that no message uses. keys: those that are not null."""
    used = {
        next((key for key in group if key in keys), None) for group in KEYS_BY_FORM.get(form, [*TURN_KEYS, CALL_KEYS])
    }
    return tuple(key for key in keys if key not in used)


def unused_in_parts(parts: list[Any], form: str, within: str) -> UnusedValues:
    """The unused keys of the parts of a content. A tool result that is a list of other things is kept whole, as JSON."""
    if form == "tool" and not all(isinstance(part, dict) and part.keys() & {"type", "text"} for part in parts):
        return
    for part in parts:
        if not isinstance(part, dict):
            continue
        for name in BEDROCK_PARTS.keys() & part.keys():
            if isinstance(part[name], dict):
                yield from unused_in_parts([part[name] | {"type": BEDROCK_PARTS[name]}], form, f"{within}{name}.")
        part_type = part.get("type")
        part_type = part_type if isinstance(part_type, str) else "text"
        value_key = part_type if part.get(part_type) is not None else "text"
        used = KEYS_BY_PART.get(part_type, {"type", value_key}) | BEDROCK_PARTS.keys()
        for key, value in part.items():
            if key not in used and value not in EMPTY_VALUES:
                yield f"{within}{key}", meaning_in_turn(key, value, form), value
        if part_type == "tool_result" and isinstance(part.get("content"), list):
            yield from unused_in_parts(part["content"], "tool", f"{within}content[].")
