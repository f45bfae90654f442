"""What a record or its dataset says about all turns: a thought beside the answer, marks of what is learned, thoughts to leave out."""

from typing import cast

from stages.rows.content import text_of
from stages.rows.tables import OPTIONAL_KEYS
from stages.rows.turns import MARK_KEYS, REASONING_KEYS, train_mark
from stages.rows.types import Fields, Message, Row
from stages.rows.values import Unreadable, has_value

# the columns of a row's answer: a record's thought and marks belong to it
ANSWER_COLUMNS = {"sft": ("messages",), "preference": ("chosen", "rejected"), "kto": ("completion",), "grpo": ()}


def with_record_marks(row: Row, record: Fields, shape: str, kind: str) -> Row:
    """A row with the thought and the marks that its record has beside the messages. Raises Unreadable."""
    if shape in ("verifiable", "multiple_choice", "extractive") and kind == "grpo":
        return row  # all other keys of such a record are its `extra`
    for key in REASONING_KEYS:
        if has_value(record, key) and (trace := text_of(record[key], key).strip()):
            row = with_trace(row, trace, key, kind)
    marks = {key: record[key] for key in MARK_KEYS if has_value(record, key)}
    if not marks:
        return row
    lists = {key: value for key, value in marks.items() if isinstance(value, list)}
    if kind != "sft":
        if lists or train_mark(marks, "the record") is False:
            raise Unreadable(
                "ingest.unsupported_key", f"{', '.join(marks)}: a row of kind {kind} is learned as a whole"
            )
        return row
    turns = row["messages"]
    for key, value in lists.items():
        if len(value) != len(turns):
            raise Unreadable("ingest.unsupported_key", f"{key}: {len(value)} marks for {len(turns)} turns")
    marks_by_turn = [
        {key: value[i] if key in lists else value for key, value in marks.items()} for i in range(len(turns))
    ]
    learned = [train_mark(mark, "the record") for mark in marks_by_turn]
    return row | {"messages": [turn | train_flag(turn, mark) for turn, mark in zip(turns, learned, strict=True)]}


def train_flag(turn: Message, mark: bool | None) -> dict[str, bool]:
    return {"train": False} if mark is False and turn["role"] == "assistant" else {}


def with_trace(row: Row, trace: str, key: str, kind: str) -> Row:
    """A row with this thought in its answer. Raises Unreadable if it is unclear which turn the thought belongs to."""
    places = ANSWER_COLUMNS[kind]
    answer: Message | None = row[places[0]][-1] if len(places) == 1 and row[places[0]] else None
    if answer is None or answer["role"] != "assistant" or answer.get("reasoning_content") not in (None, trace):
        raise Unreadable("ingest.unsupported_key", f"{key}: it is unclear which turn this thought belongs to")
    return row | {places[0]: [*row[places[0]][:-1], with_key(answer, "reasoning_content", trace)]}


def with_key(turn: Message, key: str, value: object) -> Message:
    """A message with one more key, its keys in the order of the tables."""
    order = ("role", "content", *OPTIONAL_KEYS)
    return cast(Message, dict(sorted({**turn, key: value}.items(), key=lambda item: order.index(item[0]))))


def without_thoughts(row: Row, reasoning: str) -> Row:
    """A row without its thoughts (`drop`), or with only that of the last answer (`last_turn`)."""
    result = dict(row)
    for name, turns in row.items():
        if isinstance(turns, list):
            answers = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
            last_answer = answers[-1] if reasoning == "last_turn" and answers and name != "prompt" else None
            result[name] = [
                turn if i == last_answer else {key: value for key, value in turn.items() if key != "reasoning_content"}
                for i, turn in enumerate(turns)
            ]
    return result


def without_marks(row: Row, kind: str) -> Row:
    """A row without marks in its prompt, which is never learned. Raises Unreadable if an answer is marked as not learned."""
    if kind == "sft":
        return row
    if any("train" in turn for name in ANSWER_COLUMNS[kind] for turn in row[name]):
        raise Unreadable("ingest.unsupported_key", f"train: a row of kind {kind} is learned as a whole")
    if not any("train" in turn for turn in row["prompt"]):
        return row
    return row | {"prompt": [{key: value for key, value in turn.items() if key != "train"} for turn in row["prompt"]]}
