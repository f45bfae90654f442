"""What a key belongs to, judged by its name: the prompt, the answer, a thought, or the marks of what is learned.

meaning_of("answer_2") -> "answer";  meaning_in_turn("refusal", "I cannot.", "assistant") -> "answer"
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from stages.rows.calls import CONVERSATION_KEYS
from stages.rows.turns import ANSWER_KEYS, MARK_KEYS, PROMPT_KEYS, REASONING_KEYS, SYSTEM_KEYS, TRUTH_KEYS

EXTRA_KEYS = ("input", "context")  # appended to a question that is a text
MEANINGS = {
    "prompt": {
        *PROMPT_KEYS, *SYSTEM_KEYS, *EXTRA_KEYS, *CONVERSATION_KEYS, "instruction", "history", "body", "passage", "paragraph",
        "document", "article", "story", "background", "premise", "hypothesis", "options", "choices", "choice", "evidence", "hint",
        "knowledge", "persona", "schema", "table", "facts", "user", "human", "tools", "functions", "support",
    },
    "answer": {
        *ANSWER_KEYS, *TRUTH_KEYS, "reference", "gold", "golden", "golden_answer", "gold_answer", "ideal",
        "expected", "expected_answer", "expected_output", "correct_answer", "best_answer", "incorrect_answer", "canonical_solution",
        "final_answer", "generation", "candidate", "assistant", "gpt", "bot", "label", "distractor", "right_answer",
    },
    "thought": {
        *REASONING_KEYS, "thought", "rationale", "explanation", "cot", "chain_of_thought", "complex_cot", "scratchpad",
        "thinking_trajectory", "thinking_trajectories",
    },
    "mark": {*MARK_KEYS, "train_on_turn", "is_correct", "masks"},
}  # fmt: skip
EMPTY_VALUES = (None, "", [], {})
# words in the names of a turn's keys: what its speaker said, why, and whether it is learned
SPEECH_WORDS = {"content", "value", "text", "message", "refusal", "tool_calls", "function_call"}
THOUGHT_WORDS = {
    "reasoning",
    "thinking",
    "thought",
    "thoughts",
    "think",
    "rationale",
    "cot",
    "scratchpad",
    "monologue",
    "analysis",
}
MARK_WORDS = {"train", "trainable", "training", "loss", "mask", "masked", "masks", "learn", "learned"}


@lru_cache(4096)
def meaning_of(key: str) -> str | None:
    """What a key belongs to, judged by its name, or None."""
    names = name_forms(key)
    return next((meaning for meaning, known in MEANINGS.items() if names & known), None)


def name_forms(key: str) -> set[str]:
    """A key's name, also without a number or a plural at its end: `answer_2`, `options`."""
    name = snake_case(key)
    return {name, re.sub(r"_?\d+$", "", name), name.removesuffix("s")}


def snake_case(key: str) -> str:
    """A key's name in lower case, its words joined by `_`."""
    return re.sub(r"[\s.-]+", "_", str(key).strip().lower())


def meaning_in_turn(key: str, value: object, role: str) -> str | None:
    """What a key of a turn belongs to. If its name is unknown, its words and its value decide: `internal_thoughts`, `loss_weight`."""
    meaning, possible = meaning_by_name(key, role)
    # a thought has several words: `reasoning_effort: high` is not one, and neither is a count of tokens
    if possible == "thought" and any(len(text.split()) > 1 for text in texts_in(value)):
        return possible
    return possible if possible == "mark" and isinstance(value, (bool, int, float)) else meaning


@lru_cache(4096)
def meaning_by_name(key: str, role: str) -> tuple[str | None, str | None]:
    """(meaning, possible meaning); the value decides about the possible one."""
    if snake_case(key) in SPEECH_WORDS:
        return "answer" if role == "assistant" else "prompt", None
    if meaning := meaning_of(key):
        return meaning, None
    words = set(snake_case(key).split("_"))
    return None, "thought" if words & THOUGHT_WORDS else "mark" if words & MARK_WORDS else None


def texts_in(value: object) -> Iterator[str]:
    """The texts in a value, without roles and types of messages. A number gives a text that no row has."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("role", "from", "type"):
                yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield f"\0{value}"
