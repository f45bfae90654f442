"""Which keys of a record its row is made of, and which say something that the row does not hold.

    account = KeyAccount()
    account.see({"instruction": "q", "response": "a", "hint": "h"}, "alpaca", "sft", rows)
    account.unused -> Counter({"hint": 1});  account.lost -> {"hint": Lost(meaning="prompt", records=1, sample="h")}

Any key may be left out but those that plainly belong to what is trained: to the prompt, to the answer, to a thought, or to what is
learned. Where such a key holds what the row says anyway (a copy of the prompt beside the messages), nothing is lost.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from stages.rows.calls import CONVERSATION_KEYS
from stages.rows.choices import ASKED, OPTION_KEYS, RESPONSE_KEYS, RIGHT_KEYS, SCORE_KEYS, SIDES, WINNER_KEYS
from stages.rows.columns import key_like, listed
from stages.rows.content import without_thought
from stages.rows.turns import (
    ANSWER_KEYS,
    GRPO_TRUTH_KEYS,
    MARK_KEYS,
    PROMPT_KEYS,
    REASONING_KEYS,
    SYSTEM_KEYS,
    TRUTH_KEYS,
)
from validators._truths import final_of

EXTRA_KEYS = ("input", "context")  # behind a question that is a text
PROMPT = (*PROMPT_KEYS, "instruction")
# by shape: groups of keys; of a group, the first that a record has is used
USED = {
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
    "multiple_choice": [ASKED, OPTION_KEYS, RIGHT_KEYS],
    "scored": [ASKED, RESPONSE_KEYS, SCORE_KEYS],
    "compared": [(*ASKED, "context"), *zip(*SIDES, strict=True), WINNER_KEYS],
    "seed": [("instruction",), ("instances",)],
    "input_output": [("input",), ("output", "target")],
}  # fmt: skip
MEANINGS = {
    "prompt": {
        *PROMPT_KEYS, *SYSTEM_KEYS, *EXTRA_KEYS, *CONVERSATION_KEYS, "instruction", "history", "body", "passage", "paragraph",
        "document", "article", "story", "background", "premise", "hypothesis", "options", "choices", "choice", "evidence", "hint",
        "knowledge", "persona", "schema", "table", "facts", "user", "human", "tools", "functions", "support",
    },
    "answer": {
        *ANSWER_KEYS, *TRUTH_KEYS, "reference", "gold", "correct_answer", "best_answer", "incorrect_answer", "canonical_solution",
        "final_answer", "generation", "candidate", "assistant", "gpt", "bot", "label", "distractor", "right_answer",
    },
    "thought": {
        *REASONING_KEYS, "thought", "rationale", "explanation", "cot", "chain_of_thought", "complex_cot", "scratchpad",
        "thinking_trajectory", "thinking_trajectories",
    },
    "mark": {*MARK_KEYS, "train_on_turn", "is_correct", "masks"},
}  # fmt: skip
# what a conversation, or scores, were made or checked with: beside them no answer of its own
REFERENCES = {
    *TRUTH_KEYS, "reference", "gold", "correct_answer", "best_answer", "incorrect_answer", "canonical_solution", "final_answer",
    "generation", "right_answer",
}  # fmt: skip
# of two answers, why one is the better one, and what they were chosen from
JUDGED = {"rationale", "explanation", "generation"}
PAIRS = ("preference", "openai_preference", "scored", "compared")
MOST_NAMES = 1000  # keys of one file that are counted by name
NOTHING = (None, "", [], {})
LONG = 40  # characters: shorter texts are in a row by chance


@dataclass
class Lost:
    """A key that says something that the rows of its records do not hold. sample: the first value, in short."""

    meaning: str
    records: int
    sample: str


@dataclass
class KeyAccount:
    """unused: how many records have each key that no row is made of. lost: those of them that mean something."""

    unused: Counter = field(default_factory=Counter)
    lost: dict = field(default_factory=dict)

    def see(self, record, shape, kind, rows, names=None, ignored=()):
        """Count the keys of a record that became rows. names: {name of a shape: name in the file}."""
        said = None
        for name, meaning, value in left_over(record, shape, kind, names or {}):
            self.count(name)
            if meaning is None or name in ignored:
                continue
            said = Said(rows) if said is None else said
            if not said.holds(value):
                lost = self.lost.setdefault(name, Lost(meaning, 0, str(value)[:60]))
                lost.records += 1

    def count(self, name, records=1):
        if name not in self.unused and len(self.unused) >= MOST_NAMES:
            name = "(others)"
        self.unused[name] += records

    def add(self, other):
        for name, records in other.unused.items():
            self.count(name, records)
        for name, lost in other.lost.items():
            mine = self.lost.setdefault(name, Lost(lost.meaning, 0, lost.sample))
            mine.records += lost.records


def left_over(record, shape, kind, names):
    """(name in the file, meaning, value) of each key that no row is made of; of one that columns lead into, of what they leave in it."""
    keys = tuple(key for key, value in record.items() if value not in NOTHING)
    taken = led_into(record, names)
    for key, meaning in unused(shape, kind, keys, text_prompt(record, shape)):
        if key in taken:
            yield from left_in(record[key], key, taken[key])
        else:
            name = names.get(key, key)
            yield " + ".join(map(str, name)) if isinstance(name, list) else str(name), meaning, record[key]


def led_into(record, columns):
    """{key: what is taken of it} of the keys that columns lead into: {"data": {"text"}} of `data.text` and of `data[].text`."""
    found = {}
    for name in (str(name) for names in columns.values() for name in listed(names)):
        head, _, rest = name.partition("[]" if "[]" in name else ".")
        if key_like(record, name) is None and (key := key_like(record, head)) is not None:
            found.setdefault(key, set()).add(rest.lstrip(".").split(".")[0].lower())
    return found


def left_in(value, key, taken):
    """The same of an object, or of all items of a list: of these the names alone, as a row is made of one of them."""
    if "" in taken:  # the items themselves
        return
    if isinstance(value, dict):
        for name, each in value.items():
            if name.lower() not in taken and each not in NOTHING:
                yield f"{key}.{name}", meaning_of(name), each
    elif isinstance(value, list):
        for name in dict.fromkeys(name for item in value if isinstance(item, dict) for name in item):
            if name.lower() not in taken:
                yield f"{key}[].{name}", None, None


def text_prompt(record, shape):
    """Whether the prompt is a text, behind which `input`, `context` and `history` are read."""
    group = next((group for group in USED[shape] if set(group) & set(PROMPT)), ())
    found = next((record[key] for key in group if record.get(key) is not None), None)
    return isinstance(found, str)


@lru_cache(4096)
def unused(shape, kind, keys, text):
    """((key, meaning), ...) of the keys that no part of a row is made of. keys: those that hold something."""
    if shape in ("verifiable", "multiple_choice") and kind == "grpo":
        # its row keeps them all, as `extra`, where rewards see them and the model does not; which of several truths is not the
        # one that rewards compare with is told
        truths = [key for key in GRPO_TRUTH_KEYS if key in keys] if shape == "verifiable" else []
        used = {next((key for key in group if key in keys), None) for group in USED[shape]} | set(truths) | {"tools"}
        used |= {next((key for key in SYSTEM_KEYS if key in keys), None), *((*EXTRA_KEYS, "history") if text else ())}
        asked = [key for key in keys if key not in used and meaning_of(key) == "prompt"]
        return (*((key, None) for key in truths[1:]), *((key, "prompt") for key in asked))
    used = {next((key for key in group if key in keys), None) for group in USED[shape]}
    used |= {
        "tools",
        "toolConfig",
        *REASONING_KEYS,
        *MARK_KEYS,
        next((key for key in SYSTEM_KEYS if key in keys), None),
    }
    if any(key in CONVERSATION_KEYS for key in used):
        used.add("functions")
    if text:
        used |= {*EXTRA_KEYS, "history"}
    beside = REFERENCES if (shape in ("chatml", "sharegpt") and kind == "sft") or shape == "scored" else set()
    beside = beside | JUDGED if shape in PAIRS else beside
    return tuple((key, None if names_of(key) & beside else meaning_of(key)) for key in keys if key not in used)


@lru_cache(4096)
def meaning_of(key):
    """What a key's name says that it belongs to, or None."""
    names = names_of(key)
    return next((meaning for meaning, known in MEANINGS.items() if names & known), None)


def names_of(key):
    """A key's name, and that without a number or a plural at its end: `answer_2`, `options`."""
    name = re.sub(r"[\s.-]+", "_", str(key).strip().lower())
    return {name, re.sub(r"_?\d+$", "", name), name.removesuffix("s")}


class Said:
    """What the rows of a record say, to look a value up in it."""

    def __init__(self, rows):
        turns = [turn for row in rows for value in row.values() if isinstance(value, list) for turn in value]
        texts = [text for turn in turns for text in (turn["content"], turn.get("reasoning_content")) if text]
        texts += [row[key] for row in rows for key in ("ground_truth", "tools") if row.get(key)]
        # the answer that a solution ends with, in a box or behind ####
        finals = [final_of(turn["content"]) for turn in turns if turn["role"] == "assistant" and turn["content"]]
        self.texts = {text.strip() for text in [*texts, *filter(None, finals)]}
        self.lines = {line.strip() for text in texts for line in text.splitlines()}

    def holds(self, value):
        """Whether all texts of a value are said: a long one anywhere, a short one as a turn or a line."""
        leaves = list(leaves_of(value))
        return bool(leaves) and all(self.says(leaf) for leaf in leaves)

    def says(self, text):
        text = text.strip()
        if not text or text in self.texts or text in self.lines:
            return True
        trace, answer = without_thought(text)
        if trace:  # rows hold it apart from the answer
            return self.says(trace) and self.says(answer)
        return len(text) >= LONG and any(text in said for said in self.texts)


def leaves_of(value):
    """The texts in a value, but for roles and types of messages; a number is a text that no row says."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in ("role", "from", "type"):
                yield from leaves_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves_of(each)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield f"\0{value}"


def described(unused):
    """`context (15,011), difficulty (203)`: the most frequent first."""
    return ", ".join(
        f"{name} ({count:,})" for name, count in sorted(unused.items(), key=lambda item: (-item[1], item[0]))
    )
