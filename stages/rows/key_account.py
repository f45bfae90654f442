"""The keys of a record that its row does not use, and those of them whose content is lost.

    account = KeyAccount()
    account.add_record({"instruction": "q", "response": "a", "hint": "h"}, "alpaca", "sft", rows)
    account.unused -> Counter({"hint": 1});  account.lost -> {"hint": Lost(meaning="prompt", records=1, sample="h")}

A key is lost if its name says that it belongs to the prompt, the answer, a thought, or the marks of what is learned. Any other key
may be left out. If the row has the same text anyway (a copy of the prompt beside the messages), nothing is lost.
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
from stages.rows.key_hints import BESIDE
from stages.rows.key_meanings import EMPTY_VALUES, EXTRA_KEYS, meaning_of, name_forms, texts_in
from stages.rows.trees import unused_tree_values
from stages.rows.turn_keys import UnusedValues, unused_in_turns
from stages.rows.turns import GRPO_TRUTH_KEYS, MARK_KEYS, PROMPT_KEYS, REASONING_KEYS, SYSTEM_KEYS, TRUTH_KEYS
from stages.rows.types import Fields, Row
from validators._truths import final_answer

SIDE_BY_SIDE = zip(*SIDES, strict=True)
SCORES_OF_SIDES = [tuple(FIRST_IS_1.values()), *zip(*SIDE_SCORES.values(), strict=True)]
# {shape: groups of keys}; of each group, the first key that a record has is used
KEYS_BY_SHAPE = {
    "alpaca": [("instruction",), ("output", "response")],
    "sharegpt": [CONVERSATION_KEYS],
    "chatml": [("messages",)],
    "prompt_completion": [("prompt",), ("completion",)],
    "query_response": [PROMPT_KEYS, ("response",)],
    "query_calls": [("query",), ("answers",)],
    "preference": [("chosen",), ("rejected",), ("prompt", *CONVERSATION_KEYS, "question", "problem", "query", "instruction", "input")],
    "openai_preference": [("input", "prompt"), ("preferred_output",), ("non_preferred_output",)],
    "feedback": [("completion", "response", *CONVERSATION_KEYS), QUESTION_KEYS, ("label",)],
    "verifiable": [(*PROMPT_KEYS, "messages"), TRUTH_KEYS],
    "multiple_choice": [QUESTION_KEYS, OPTION_KEYS, CORRECT_OPTION_KEYS],
    "scored": [QUESTION_KEYS, RESPONSE_KEYS, SCORE_KEYS],
    "compared": [(*QUESTION_KEYS, "context", "history"), *SIDE_BY_SIDE, WINNER_KEYS, *SCORES_OF_SIDES],
    "seed": [("instruction",), ("instances",)],
    "input_output": [("input",), ("output", "target")],
    "reply_tree": [("prompt",)],
    "extractive": [("question",), ("answers",)],
}  # fmt: skip
# what a conversation or scores were made or checked with: beside them it is not an answer
REFERENCE_KEYS = {
    *TRUTH_KEYS, "reference", "gold", "correct_answer", "best_answer", "incorrect_answer", "canonical_solution", "final_answer",
    "generation", "right_answer",
}  # fmt: skip
# why one of two answers is better, and what the two were chosen from
JUDGEMENT_KEYS = {"rationale", "explanation", "generation"}
PAIR_SHAPES = ("preference", "openai_preference", "scored", "compared")
SAID_TO_ALL = {*SYSTEM_KEYS, "instruction", "prompt", "system_message", "definition", "preamble"}
MAX_NAMES = 1000  # keys that are counted by name in one file
LONG_TEXT_CHARS = 40  # a shorter text may be in a row by chance


@dataclass
class LostKey:
    """A key whose content is not in the rows of its records. sample: the first value, shortened."""

    meaning: str
    records: int
    sample: str


@dataclass
class KeyAccount:
    """unused: {key: records} of the keys that no row uses. lost: those of them whose content is lost.

    sliced: {key of `slice_by`: records that have it}, of the records that became rows; their number is under "".
    """

    unused: Counter[str] = field(default_factory=Counter)
    lost: dict[str, LostKey] = field(default_factory=dict)
    sliced: Counter[str] = field(default_factory=Counter)

    def add_record(
        self,
        record: Fields,
        shape: str,
        kind: str,
        rows: list[Row],
        names: dict[str, Names] | None = None,
        ignored: Collection[str] = (),
    ) -> None:
        """Count the keys of a record that became rows. names: {name of a shape: name in the file}."""
        row_texts, names_seen, lost = None, set(), {}
        for name, meaning, value in unused_values(record, shape, kind, names or {}):
            names_seen.add(name)
            if meaning is None or name in ignored or name in lost:
                continue
            row_texts = RowTexts(rows) if row_texts is None else row_texts
            if not row_texts.holds(value) and not repeats_key(name, value, record, shape):
                lost[name] = LostKey(meaning, 1, str(value)[:60])
        for name in names_seen:
            self.count(name)
        self.add_lost(lost)

    def add_beside(self, keys: Fields, ignored: Collection[str] = ()) -> None:
        """Count the keys of a file that stand beside its list of records. One that would say something to the model is lost."""
        for key, value in keys.items():
            if value in EMPTY_VALUES:
                continue
            name = f"{key}{BESIDE}"
            self.count(name)
            if name_forms(key) & SAID_TO_ALL and name not in ignored and any(texts_in(value)):
                self.add_lost({name: LostKey("prompt", 1, str(value)[:60])})

    def count(self, name: str, records: int = 1) -> None:
        if name not in self.unused and len(self.unused) >= MAX_NAMES:
            name = "(others)"
        self.unused[name] += records

    def add(self, other: "KeyAccount") -> None:
        for name, records in other.unused.items():
            self.count(name, records)
        self.sliced.update(other.sliced)
        self.add_lost(other.lost)

    def slice(self, values: Mapping[str, object]) -> None:
        """Count what a record has of the keys of `slice_by`. values: {key: value or None}."""
        self.sliced.update(["", *(key for key, value in values.items() if value is not None)])

    def add_lost(self, lost_keys: dict[str, LostKey]) -> None:
        for name, lost in lost_keys.items():
            total = self.lost.setdefault(name, LostKey(lost.meaning, 0, lost.sample))
            total.records += lost.records


def repeats_key(name: str, value: object, record: Fields, shape: str) -> bool:
    """Whether a value is also that of another key which the shape reads, and the kind leaves out on purpose: `rejected` of a supervised row."""
    return any(key != name and value == record.get(key) for group in KEYS_BY_SHAPE[shape] for key in group)


def unused_values(record: Fields, shape: str, kind: str, names: dict[str, Names]) -> UnusedValues:
    """(name in the file, meaning, value) of each key that the row does not use. A key that columns read from gives its unused subkeys.

    A key of a turn has a name such as `messages[].refusal`, and comes once for each turn that has it.
    """
    keys = tuple(key for key, value in record.items() if value not in EMPTY_VALUES)
    subkeys = used_subkeys(record, names)
    for key, meaning in unused_keys(shape, kind, keys, prompt_is_text(record, shape)):
        if key in subkeys:
            yield from unused_subkeys(record[key], key, subkeys[key])
        else:
            yield name_in_file(key, names), meaning, record[key]
    if shape == "reply_tree":
        yield from unused_tree_values(record)
        return
    if shape == "extractive" and kind == "sft" and "answers" in record:
        other_answers = {
            "answers." + key: value
            for key, value in record["answers"].items()
            if key != "text" and value not in EMPTY_VALUES
        }
        other_texts = list(dict.fromkeys(record["answers"]["text"][1:]))
        yield from ((name, None, value) for name, value in other_answers.items())
        yield from [("answers.text but the first", None, other_texts)] if other_texts else []
    if shape == "compared" and isinstance(record.get("question"), dict):
        yield from ((f"question.{key}", None, value) for key, value in record["question"].items() if key != "full_text")
    for key in keys_with_turns(shape, keys):
        yield from unused_in_turns(record[key], key, shape, name_in_file(key, names))


def name_in_file(key: str, names: dict[str, Names]) -> str:
    """The name of a key in the file, or the names that are joined into it."""
    return " + ".join(map(str, as_list(names.get(key, key))))


def used_subkeys(record: Fields, columns: dict[str, Names]) -> dict[str, set[str]]:
    """{key: subkeys that columns read} of the keys that paths lead into: {"data": {"text"}} for `data.text` and `data[].text`."""
    subkeys = {}
    for name in (str(name) for names in columns.values() for name in as_list(names)):
        head, _, rest = name.partition("[]" if "[]" in name else ".")
        if matching_key(record, name) is None and (key := matching_key(record, head)) is not None:
            subkeys.setdefault(key, set()).add(rest.lstrip(".").split(".")[0].lower())
    return subkeys


def unused_subkeys(value: object, key: str, used: set[str]) -> UnusedValues:
    """The unused subkeys of an object, or of all items of a list. Those of items have no value, as each row uses one item."""
    if "" in used:  # the items themselves
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            if name.lower() not in used and inner not in EMPTY_VALUES:
                yield f"{key}.{name}", meaning_of(name), inner
    elif isinstance(value, list):
        for name in dict.fromkeys(name for item in value if isinstance(item, dict) for name in item):
            if name.lower() not in used:
                yield f"{key}[].{name}", None, None


def prompt_is_text(record: Fields, shape: str) -> bool:
    """Whether the prompt is a text: only then `input`, `context` and `history` are read too."""
    group = next((group for group in KEYS_BY_SHAPE[shape] if set(group) & set(QUESTION_KEYS)), ())
    prompt = next((record[key] for key in group if record.get(key) is not None), None)
    return isinstance(prompt, str)


@lru_cache(4096)
def keys_of_shape(shape: str, keys: tuple[str, ...]) -> set[str]:
    """The keys of a record that its shape reads."""
    keys_used = (next((key for key in group if key in keys), None) for group in KEYS_BY_SHAPE[shape])
    return {key for key in keys_used if key is not None}


@lru_cache(4096)
def keys_with_turns(shape: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of a record that its shape reads and that may hold turns. Options and ground truths hold none."""
    prompt_only = shape in ("verifiable", "multiple_choice", "extractive")
    keys_read = (
        {next((key for key in KEYS_BY_SHAPE[shape][0] if key in keys), None)}
        if prompt_only
        else keys_of_shape(shape, keys)
    )
    return tuple(key for key in keys if key in keys_read or key == "history")


@lru_cache(4096)
def unused_keys(shape: str, kind: str, keys: tuple[str, ...], text: bool) -> tuple[tuple[str, str | None], ...]:
    """((key, meaning), ...) of the keys that no row uses. keys: those that are not empty."""
    used = keys_of_shape(shape, keys) | {"tools", next((key for key in SYSTEM_KEYS if key in keys), None)}
    used |= {*EXTRA_KEYS, "history"} if text else set()
    if shape in ("verifiable", "multiple_choice", "extractive") and kind == "grpo":
        # the row keeps them all as `extra`, which rewards see and the model does not. Of several ground truths, those that
        # rewards do not compare with are reported
        truths = [key for key in GRPO_TRUTH_KEYS if key in keys] if shape == "verifiable" else []
        prompt_keys = [key for key in keys if key not in {*used, *truths} and meaning_of(key) == "prompt"]
        return (*((key, None) for key in truths[1:]), *((key, "prompt") for key in prompt_keys))
    used |= {"toolConfig", *REASONING_KEYS, *MARK_KEYS}
    if not used.isdisjoint(CONVERSATION_KEYS):
        used.add("functions")
    references = REFERENCE_KEYS if (shape in ("chatml", "sharegpt") and kind == "sft") or shape == "scored" else set()
    references = references | JUDGEMENT_KEYS if shape in PAIR_SHAPES else references
    return tuple((key, None if name_forms(key) & references else meaning_of(key)) for key in keys if key not in used)


class RowTexts:
    """The texts of a record's rows, to look values up in them."""

    def __init__(self, rows: list[Row]) -> None:
        turns = [turn for row in rows for value in row.values() if isinstance(value, list) for turn in value]
        texts = [text for turn in turns for text in (turn["content"], turn.get("reasoning_content")) if text]
        texts += [row[key] for row in rows for key in ("ground_truth", "tools") if row.get(key)]
        # the answer that a solution ends with, in a box or after ####
        finals = [final_answer(turn["content"]) for turn in turns if turn["role"] == "assistant" and turn["content"]]
        self.texts = {text.strip() for text in [*texts, *filter(None, finals)]}
        self.lines = {line.strip() for text in texts for line in text.splitlines()}

    def holds(self, value: object) -> bool:
        """Whether the rows have all texts of a value: a long one anywhere, a short one as a turn or a line."""
        leaves = list(texts_in(value))
        return bool(leaves) and all(self.says(leaf) for leaf in leaves)

    def says(self, text: str) -> bool:
        text = text.strip()
        if not text or text in self.texts or text in self.lines:
            return True
        trace, answer = split_thought(text)
        if trace:  # rows keep the thought apart from the answer
            return self.says(trace) and self.says(answer)
        return len(text) >= LONG_TEXT_CHARS and any(text in known for known in self.texts)
