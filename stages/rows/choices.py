"""Records that hold several answers: options of a question, answers with scores, two answers of which one is better.

read_multiple_choice({"question": "q", "options": ["x", "y"], "answer": 1})
-> ("grpo", {"prompt": [user("q\\nA. x\\nB. y")], "ground_truth": "B", "extra": "{...}"})
read_scored({"prompt": "q", "responses": ["a", "b"], "scores": [1, 3]}, Options())
-> ("preference", [{"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("a")]}])
"""

import math
import re
from decimal import Decimal
from typing import Any

from stages.rows.columns import leading_letters, options_as_text, options_by_letter
from stages.rows.options import Options
from stages.rows.turns import PROMPT_KEYS, answer_of, prompt_of, turns_of, user
from stages.rows.types import Fields, GrpoRow, Message, PreferenceRow
from stages.rows.values import ENCODE, Unreadable, first_key, has_value

QUESTION_KEYS = (*PROMPT_KEYS, "instruction")
OPTION_KEYS = ("options", "choices")
CORRECT_OPTION_KEYS = (
    "answerKey",
    "answer_key",
    "answer",
    "answer_idx",
    "correct",
    "correct_answer",
    "target",
    "gold",
    "ground_truth",
    "label",
)
RESPONSE_KEYS = ("responses", "completions", "candidates", "answers")
SCORE_KEYS = ("scores", "ratings", "rewards")
INNER_SCORE_KEYS = ("score", "overall_score", "rating", "reward")
INNER_TEXT_KEYS = ("response", "text", "content", "completion", "answer")
# keys of two answers side by side
SIDES = [
    ("response_0", "response_1"), ("response_1", "response_2"), ("response1", "response2"), ("response_a", "response_b"),
    ("answer_0", "answer_1"), ("answer_a", "answer_b"), ("output_1", "output_2"), ("completion_a", "completion_b"),
    ("conversation_a", "conversation_b"), ("human_ref_A", "human_ref_B"),
]  # fmt: skip
# keys that say which is better: a score of each, or in Reddit's pairs 1 for the first
SIDE_SCORES = {("answer_0", "answer_1"): ("score_0", "score_1")}
FIRST_IS_1 = {("human_ref_A", "human_ref_B"): "labels"}
WINNER_KEYS = (
    "better_response_id",
    "winner",
    "preference",
    "preferred",
    "better",
    "overall_preference",
    "label",
    "choice",
)
MAX_DIGITS = 9  # in the number of an option or a side; Python refuses to parse thousands of digits


# -- options of a question --------------------------------------------------------------------------------------------


def read_multiple_choice(record: Fields) -> tuple[str, GrpoRow]:
    """The question with its options below it, and the letter of the correct one."""
    question_key, options_key, correct_key = (
        first_key(record, QUESTION_KEYS),
        first_key(record, OPTION_KEYS),
        first_key(record, CORRECT_OPTION_KEYS),
    )
    options = record[options_key]
    written = options_as_text(options, options_key)
    has_options = isinstance(options, (list, dict))
    if not has_options and record[correct_key] is not None:
        raise Unreadable("ingest.wrong_type", f"{correct_key}: expected options as a list or an object")
    texts = options_by_letter(options, options_key) if has_options else {}
    letters = leading_letters(options) if isinstance(options, list) else None
    if letters is not None:  # the options have letters of their own
        texts = dict(zip(letters, options, strict=True))
    prompt = prompt_of(record, question_key)
    if prompt[-1]["role"] != "user":
        raise Unreadable("ingest.wrong_type", f"{question_key}: the options need a question before them")
    prompt = [*prompt[:-1], user(f"{prompt[-1]['content']}\n{written}")]
    used_keys = {question_key, options_key, correct_key, "input", "context", "history"}
    extra = ENCODE({name: value for name, value in record.items() if name not in used_keys}).decode()
    return "grpo", {
        "prompt": prompt,
        "ground_truth": correct_letter(record[correct_key], texts, correct_key),
        "extra": extra,
    }


def correct_letter(value: object, options: dict[str, str], where: str) -> str | None:
    """The letter of the correct option. value: a letter, a number from 0, or the option's text. options: {letter: text}. Raises Unreadable."""
    if value is None:
        return None
    letters = list(options)
    if isinstance(value, str):
        value = value.strip()
        if value in options or value.upper() in options:
            return value if value in options else value.upper()
        if texts := [letter for letter, text in options.items() if text == value]:
            return texts[0]
        value = int(value) if value.isdecimal() and len(value) <= MAX_DIGITS else value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(letters):
        return letters[value]
    raise Unreadable("ingest.wrong_type", f"{where}: {value!r} is not one of the options {', '.join(letters)}")


# -- answers with scores ------------------------------------------------------------------------------------------------


def read_scored(record: Fields, options: Options) -> tuple[str, list[PreferenceRow]]:
    """Pairs of answers to one prompt: the best against the worst, or all whose scores differ by more than `margin`."""
    prompt, scored = prompt_of(record, first_key(record, QUESTION_KEYS)), scored_answers(record)
    order = sorted(range(len(scored)), key=lambda i: (-scored[i][1], i))
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    if options.pairs != "all":
        pairs = [(order[0], order[-1])]
    margin = options.margin or 0
    pairs = [(a, b) for a, b in pairs if scored[a][1] - scored[b][1] > margin]
    if not pairs:
        raise Unreadable("ingest.no_pair", f"no two answers whose scores differ by more than {margin:g}")
    return "preference", [{"prompt": prompt, "chosen": scored[a][0], "rejected": scored[b][0]} for a, b in pairs]


def scored_answers(record: Fields) -> list[tuple[list[Message], float]]:
    """[(answer as messages, its score)] of a record."""
    key = first_key(record, RESPONSE_KEYS)
    answers = record[key]
    if not isinstance(answers, list) or len(answers) < 2:
        raise Unreadable("ingest.wrong_type", f"{key}: expected a list of two answers or more")
    scores = next((record[name] for name in SCORE_KEYS if has_value(record, name)), None)
    if scores is None:
        inner = [each if isinstance(each, dict) else {} for each in answers]
        scores = [score_of_answer(each) for each in inner]
        answers = [next((each[name] for name in INNER_TEXT_KEYS if has_value(each, name)), None) for each in inner]
    parsed = [finite_number(score) for score in scores] if isinstance(scores, list) else []
    numbers = [number for number in parsed if number is not None]
    if not len(numbers) == len(parsed) == len(answers):
        raise Unreadable("ingest.wrong_type", f"{key}: expected a number as the score of each answer")
    return [
        (answer_of(answer, f"{key}[{i}]"), score)
        for i, (answer, score) in enumerate(zip(answers, numbers, strict=True))
    ]


def score_of_answer(answer: Fields) -> Any:
    """The score beside an answer's text, else its rank, negated: rank 1 is better than rank 2."""
    score = next((answer[name] for name in INNER_SCORE_KEYS if has_value(answer, name)), None)
    rank = finite_number(answer.get("rank")) if score is None else None
    return score if rank is None else -rank


def finite_number(value: Any) -> float | None:
    """A score as a finite number, or None. CSV gives scores as text."""
    text = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value.strip())
    if not text and (isinstance(value, bool) or not isinstance(value, (int, float, Decimal))):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


# -- two answers ----------------------------------------------------------------------------------------------------------


def read_compared(record: Fields, options: Options) -> tuple[str, PreferenceRow]:
    """Two answers, of which the record says which is better. Raises Unreadable for a tie."""
    sides = sides_of(record)
    if sides is None:
        raise Unreadable("ingest.missing_key", f"no two answers, such as {' and '.join(SIDES[0])}")
    better = better_side(record, sides, options.margin or 0)
    chosen, rejected = (answer_of(record[sides[i]], sides[i]) for i in (better, 1 - better))
    if sides[0].startswith("conversation"):
        chosen, rejected = (turns_of(record[sides[i]], sides[i]) for i in (better, 1 - better))
        shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
        if not shared:
            raise Unreadable("ingest.no_prompt", "the two conversations share no first turn")
        return "preference", {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}
    if isinstance(record.get("context"), list) and not any(has_value(record, name) for name in QUESTION_KEYS):
        prompt = turns_of(record["context"], "context")  # HelpSteer3: the conversation before the answers
    elif isinstance(record.get("history"), str) and not any(has_value(record, name) for name in QUESTION_KEYS):
        prompt = [user(record["history"])]  # SHP: a post
    else:
        key = first_key(record, QUESTION_KEYS)
        question = record[key].get("full_text") if isinstance(record[key], dict) else None  # WebGPT: an object
        prompt = prompt_of(record if question is None else record | {key: question}, key)
    return "preference", {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def better_side(record: Fields, sides: tuple[str, str], margin: float) -> int:
    """The better side, 0 or 1. Raises Unreadable for a tie, and for scores that differ by `margin` or less."""
    key = next((key for key in (*WINNER_KEYS, FIRST_IS_1.get(sides)) if has_value(record, key)), None)
    if key is not None:
        better = parse_winner(record[key], sides, key)
        if better is None:
            raise Unreadable("ingest.no_pair", f"{key}: {record[key]!r} says that neither is better")
        return better
    keys = SIDE_SCORES.get(sides)
    if keys is None:
        raise Unreadable("ingest.missing_key", f"expected one of {', '.join(WINNER_KEYS)}")
    first, second = (finite_number(record.get(key)) for key in keys)
    if first is None or second is None:
        raise Unreadable("ingest.wrong_type", f"{', '.join(keys)}: expected a number as the score of each answer")
    if abs(first - second) <= margin:
        raise Unreadable("ingest.no_pair", f"no two answers whose scores differ by more than {margin:g}")
    return int(second > first)


def describe_better(record: Fields, keys: tuple[str, ...], options: Options) -> str:
    """Which side a record calls better, and by which of its keys: `output_2 is better, by preference`; "" where it cannot be read.

    keys: those of both sides, then those that say which is better.
    """
    sides, by = (keys[0], keys[1]), " and ".join(keys[2:])
    try:
        return f"{sides[better_side(record, sides, options.margin or 0)]} is better, by {by}"
    except Unreadable as error:
        return f"neither is better, by {by}" if error.check == "ingest.no_pair" else ""


def sides_of(record: Fields) -> tuple[str, str] | None:
    """The keys of the two answers that a record has side by side, or None."""
    return next((sides for sides in SIDES if all(has_value(record, side) for side in sides)), None)


def parse_winner(value: Any, sides: tuple[str, str], where: str) -> int | None:
    """0 or 1, the side that is better, or None for a tie. Raises Unreadable."""
    ends = [side.removeprefix("response").removeprefix("answer").removeprefix("output").strip("_") for side in sides]
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("tie", "both", "tie (bothbad)", "equal", "none", "neither"):
            return None
        for side, (name, end) in enumerate(zip(sides, ends, strict=True)):
            if text in (name, end, f"model_{end[-1:]}", f"model_{'ab'[side]}", "ab"[side], f"response_{'ab'[side]}"):
                return side
        value = int(text) if re.fullmatch(r"-?\d+", text) and len(text) <= MAX_DIGITS else value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if where == FIRST_IS_1.get(sides) and value in (0, 1):
            return int(value == 0)
        if where == "overall_preference":  # below 0 for the first, above for the second
            return None if value == 0 else int(value > 0)
        numbers = [int(end) for end in ends if end.isdecimal()]
        if value in (numbers if len(numbers) == 2 else (0, 1)):
            return (numbers if len(numbers) == 2 else [0, 1]).index(int(value))
        if numbers == [1, 2] and 1 < value < 2:  # a judge that is more or less sure, as AlpacaEval's
            return None if value == 1.5 else int(value > 1.5)
    raise Unreadable("ingest.wrong_type", f"{where}: {value!r} names neither {' nor '.join(sides)}")


# -- detection ------------------------------------------------------------------------------------------------------------


def shape_of_choices(record: Fields) -> tuple[str, tuple[str, ...]] | None:
    """(shape, the keys that identify it) of a record with several answers, or None for any other."""
    question_key = next((key for key in QUESTION_KEYS if has_value(record, key)), None)
    if sides := sides_of(record):
        if winner_key := next((key for key in (*WINNER_KEYS, FIRST_IS_1.get(sides)) if has_value(record, key)), None):
            return "compared", (*sides, winner_key)
        if all(has_value(record, key) for key in SIDE_SCORES.get(sides, ("",))):
            return "compared", (*sides, *SIDE_SCORES[sides])
    if question_key is None:
        return None
    answers_key = next(
        (key for key in RESPONSE_KEYS if isinstance(record.get(key), list) and len(record[key]) > 1), None
    )
    if answers_key:
        scores_key = next((key for key in SCORE_KEYS if isinstance(record.get(key), list)), None)
        within = isinstance(record[answers_key][0], dict) and any(
            has_value(record[answers_key][0], key) for key in (*INNER_SCORE_KEYS, "rank")
        )
        if scores_key or within:
            return "scored", tuple(filter(None, (question_key, answers_key, scores_key)))
    options_key = next((key for key in OPTION_KEYS if isinstance(record.get(key), (list, dict)) and record[key]), None)
    correct_key = next((key for key in CORRECT_OPTION_KEYS if has_value(record, key)), None)
    rated = correct_key == "label" and (
        isinstance(record["label"], bool) or has_value(record, "completion") or has_value(record, "response")
    )
    if options_key and correct_key and not rated:
        return "multiple_choice", (question_key, options_key, correct_key)
    return None
