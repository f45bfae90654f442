"""Which keys of a record its row is made of, and which say something that the row does not hold.

    account = KeyAccount()
    account.see({"instruction": "q", "response": "a", "hint": "h"}, "alpaca", "sft", rows)
    account.unused -> Counter({"hint": 1});  account.lost -> {"hint": Lost(meaning="prompt", records=1, sample="h")}

Any key may be left out but those that plainly belong to what is trained: to the prompt, to the answer, to a thought, or to what is
learned. Where such a key holds what the row says anyway (a copy of the prompt beside the messages), nothing is lost.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from stages.rows.calls import CONVERSATION_KEYS
from stages.rows.choices import (
    CORRECT_OPTION_KEYS,
    FIRST_IS_1,
    OPTION_KEYS,
    QUESTION_KEYS,
    RESPONSE_KEYS,
    SCORE_KEYS,
    SIDE_SCORES,
    SIDES,
    WINNER_KEYS,
)
from stages.rows.columns import Names, as_list, matching_key
from stages.rows.content import split_thought
from stages.rows.key_meanings import EMPTY_VALUES, EXTRA_KEYS, meaning_of, name_forms, texts_in
from stages.rows.trees import unused_tree_values
from stages.rows.turn_keys import UnusedValues, unused_in_turns
from stages.rows.turns import GRPO_TRUTH_KEYS, MARK_KEYS, PROMPT_KEYS, REASONING_KEYS, SYSTEM_KEYS, TRUTH_KEYS
from stages.rows.types import Fields, Row
from validators._truths import final_answer

PROMPT = (*PROMPT_KEYS, "instruction")
SIDE_BY_SIDE = zip(*SIDES, strict=True)
SCORES_OF_SIDES = [tuple(FIRST_IS_1.values()), *zip(*SIDE_SCORES.values(), strict=True)]
# by shape: groups of keys; of a group, the first that a record has is used
KEYS_BY_SHAPE = {
    "alpaca": [("instruction",), ("output", "response")],
    "sharegpt": [CONVERSATION_KEYS],
    "chatml": [("messages",)],
    "prompt_completion": [("prompt",), ("completion",)],
    "query_response": [PROMPT_KEYS, ("response",)],
    "query_calls": [("query",), ("answers",)],
    "preference": [("chosen",), ("rejected",), ("prompt", *CONVERSATION_KEYS, "question", "problem", "query", "instruction", "input")],
    "openai_preference": [("input", "prompt"), ("preferred_output",), ("non_preferred_output",)],
    "feedback": [("completion", "response", *CONVERSATION_KEYS), PROMPT, ("label",)],
    "verifiable": [(*PROMPT_KEYS, "messages"), TRUTH_KEYS],
    "multiple_choice": [QUESTION_KEYS, OPTION_KEYS, CORRECT_OPTION_KEYS],
    "scored": [QUESTION_KEYS, RESPONSE_KEYS, SCORE_KEYS],
    "compared": [(*QUESTION_KEYS, "context", "history"), *SIDE_BY_SIDE, WINNER_KEYS, *SCORES_OF_SIDES],
    "seed": [("instruction",), ("instances",)],
    "input_output": [("input",), ("output", "target")],
    "reply_tree": [("prompt",)],
    "extractive": [("question",), ("answers",)],
}  # fmt: skip
# what a conversation, or scores, were made or checked with: beside them no answer of its own
REFERENCE_KEYS = {
    *TRUTH_KEYS, "reference", "gold", "correct_answer", "best_answer", "incorrect_answer", "canonical_solution", "final_answer",
    "generation", "right_answer",
}  # fmt: skip
# of two answers, why one is the better one, and what they were chosen from
JUDGEMENT_KEYS = {"rationale", "explanation", "generation"}
PAIR_SHAPES = ("preference", "openai_preference", "scored", "compared")
MAX_NAMES = 1000  # keys of one file that are counted by name
LONG_TEXT_CHARS = 40  # characters: shorter texts are in a row by chance


@dataclass
class LostKey:
    """A key that says something that the rows of its records do not hold. sample: the first value, in short."""

    meaning: str
    records: int
    sample: str


@dataclass
class KeyAccount:
    """unused: how many records have each key that no row is made of. lost: those of them that mean something.

    sliced: how many records that became rows have each key of `slice_by`; under "", how many there are.
    """

    unused: Counter[str] = field(default_factory=Counter)
    lost: dict[str, LostKey] = field(default_factory=dict)
    sliced: Counter[str] = field(default_factory=Counter)

    def see(
        self,
        record: Fields,
        shape: str,
        kind: str,
        rows: list[Row],
        names: dict[str, Names] | None = None,
        ignored: Collection[str] = (),
    ) -> None:
        """Count the keys of a record that became rows. names: {name of a shape: name in the file}."""
        said, counted, lost = None, set(), {}
        for name, meaning, value in unused_values(record, shape, kind, names or {}):
            counted.add(name)
            if meaning is None or name in ignored or name in lost:
                continue
            said = RowTexts(rows) if said is None else said
            if not said.holds(value):
                lost[name] = LostKey(meaning, 1, str(value)[:60])
        for name in counted:
            self.count(name)
        self.lose(lost)

    def count(self, name: str, records: int = 1) -> None:
        if name not in self.unused and len(self.unused) >= MAX_NAMES:
            name = "(others)"
        self.unused[name] += records

    def add(self, other: "KeyAccount") -> None:
        for name, records in other.unused.items():
            self.count(name, records)
        self.sliced.update(other.sliced)
        self.lose(other.lost)

    def slice(self, values: Mapping[str, object]) -> None:
        """Count what a record has of the keys of `slice_by`. values: {key: value or None}."""
        self.sliced.update(["", *(key for key, value in values.items() if value is not None)])

    def lose(self, found: dict[str, LostKey]) -> None:
        for name, lost in found.items():
            mine = self.lost.setdefault(name, LostKey(lost.meaning, 0, lost.sample))
            mine.records += lost.records


def unused_values(record: Fields, shape: str, kind: str, names: dict[str, Names]) -> UnusedValues:
    """(name in the file, meaning, value) of each key that no row is made of; of one that columns lead into, of what they leave in it.

    A key of a turn is named after where the turn stands: `messages[].refusal`, once for each turn that has it.
    """
    keys = tuple(key for key, value in record.items() if value not in EMPTY_VALUES)
    taken = used_subkeys(record, names)
    for key, meaning in unused_keys(shape, kind, keys, prompt_is_text(record, shape)):
        if key in taken:
            yield from unused_subkeys(record[key], key, taken[key])
        else:
            yield name_in_file(key, names), meaning, record[key]
    if shape == "reply_tree":
        yield from unused_tree_values(record)
        return
    if shape == "extractive" and kind == "sft" and "answers" in record:
        beside = {
            "answers." + key: value
            for key, value in record["answers"].items()
            if key != "text" and value not in EMPTY_VALUES
        }
        others = list(dict.fromkeys(record["answers"]["text"][1:]))
        yield from ((name, None, value) for name, value in beside.items())
        yield from [("answers.text but the first", None, others)] if others else []
    if shape == "compared" and isinstance(record.get("question"), dict):
        yield from ((f"question.{key}", None, value) for key, value in record["question"].items() if key != "full_text")
    for key in keys_with_turns(shape, keys):
        yield from unused_in_turns(record[key], key, shape, name_in_file(key, names))


def name_in_file(key: str, names: dict[str, Names]) -> str:
    """The name of a key in the file, or the names that are joined to it."""
    return " + ".join(map(str, as_list(names.get(key, key))))


def used_subkeys(record: Fields, columns: dict[str, Names]) -> dict[str, set[str]]:
    """{key: what is taken of it} of the keys that columns lead into: {"data": {"text"}} of `data.text` and of `data[].text`."""
    found = {}
    for name in (str(name) for names in columns.values() for name in as_list(names)):
        head, _, rest = name.partition("[]" if "[]" in name else ".")
        if matching_key(record, name) is None and (key := matching_key(record, head)) is not None:
            found.setdefault(key, set()).add(rest.lstrip(".").split(".")[0].lower())
    return found


def unused_subkeys(value: object, key: str, taken: set[str]) -> UnusedValues:
    """The same of an object, or of all items of a list: of these the names alone, as a row is made of one of them."""
    if "" in taken:  # the items themselves
        return
    if isinstance(value, dict):
        for name, each in value.items():
            if name.lower() not in taken and each not in EMPTY_VALUES:
                yield f"{key}.{name}", meaning_of(name), each
    elif isinstance(value, list):
        for name in dict.fromkeys(name for item in value if isinstance(item, dict) for name in item):
            if name.lower() not in taken:
                yield f"{key}[].{name}", None, None


def prompt_is_text(record: Fields, shape: str) -> bool:
    """Whether the prompt is a text, behind which `input`, `context` and `history` are read."""
    group = next((group for group in KEYS_BY_SHAPE[shape] if set(group) & set(PROMPT)), ())
    found = next((record[key] for key in group if record.get(key) is not None), None)
    return isinstance(found, str)


@lru_cache(4096)
def keys_of_shape(shape: str, keys: tuple[str, ...]) -> set[str]:
    """The keys that a shape reads, of those that a record has."""
    found = (next((key for key in group if key in keys), None) for group in KEYS_BY_SHAPE[shape])
    return {key for key in found if key is not None}


@lru_cache(4096)
def keys_with_turns(shape: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that a shape reads and that may hold turns, of those that a record has; options and ground truths are none."""
    asked = shape in ("verifiable", "multiple_choice", "extractive")
    held = (
        {next((key for key in KEYS_BY_SHAPE[shape][0] if key in keys), None)} if asked else keys_of_shape(shape, keys)
    )
    return tuple(key for key in keys if key in held or key == "history")


@lru_cache(4096)
def unused_keys(shape: str, kind: str, keys: tuple[str, ...], text: bool) -> tuple[tuple[str, str | None], ...]:
    """((key, meaning), ...) of the keys that no part of a row is made of. keys: those that hold something."""
    taken = keys_of_shape(shape, keys) | {"tools", next((key for key in SYSTEM_KEYS if key in keys), None)}
    taken |= {*EXTRA_KEYS, "history"} if text else set()
    if shape in ("verifiable", "multiple_choice", "extractive") and kind == "grpo":
        # its row keeps them all, as `extra`, where rewards see them and the model does not; which of several truths is not the
        # one that rewards compare with is told
        truths = [key for key in GRPO_TRUTH_KEYS if key in keys] if shape == "verifiable" else []
        asked = [key for key in keys if key not in {*taken, *truths} and meaning_of(key) == "prompt"]
        return (*((key, None) for key in truths[1:]), *((key, "prompt") for key in asked))
    taken |= {"toolConfig", *REASONING_KEYS, *MARK_KEYS}
    if not taken.isdisjoint(CONVERSATION_KEYS):
        taken.add("functions")
    beside = REFERENCE_KEYS if (shape in ("chatml", "sharegpt") and kind == "sft") or shape == "scored" else set()
    beside = beside | JUDGEMENT_KEYS if shape in PAIR_SHAPES else beside
    return tuple((key, None if name_forms(key) & beside else meaning_of(key)) for key in keys if key not in taken)


class RowTexts:
    """What the rows of a record say, to look a value up in it."""

    def __init__(self, rows: list[Row]) -> None:
        turns = [turn for row in rows for value in row.values() if isinstance(value, list) for turn in value]
        texts = [text for turn in turns for text in (turn["content"], turn.get("reasoning_content")) if text]
        texts += [row[key] for row in rows for key in ("ground_truth", "tools") if row.get(key)]
        # the answer that a solution ends with, in a box or behind ####
        finals = [final_answer(turn["content"]) for turn in turns if turn["role"] == "assistant" and turn["content"]]
        self.texts = {text.strip() for text in [*texts, *filter(None, finals)]}
        self.lines = {line.strip() for text in texts for line in text.splitlines()}

    def holds(self, value: object) -> bool:
        """Whether all texts of a value are said: a long one anywhere, a short one as a turn or a line."""
        leaves = list(texts_in(value))
        return bool(leaves) and all(self.says(leaf) for leaf in leaves)

    def says(self, text: str) -> bool:
        text = text.strip()
        if not text or text in self.texts or text in self.lines:
            return True
        trace, answer = split_thought(text)
        if trace:  # rows hold it apart from the answer
            return self.says(trace) and self.says(answer)
        return len(text) >= LONG_TEXT_CHARS and any(text in said for said in self.texts)
