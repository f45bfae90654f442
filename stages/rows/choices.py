"""Records that hold several answers: options of a question, answers with scores, two answers of which one is better.

read_multiple_choice({"question": "q", "options": ["x", "y"], "answer": 1})
-> ("grpo", {"prompt": [user("q\\nA. x\\nB. y")], "ground_truth": "B", "extra": "{...}"})
read_scored({"prompt": "q", "responses": ["a", "b"], "scores": [1, 3]}, Options())
-> ("preference", [{"prompt": [user("q")], "chosen": [assistant("b")], "rejected": [assistant("a")]}])
"""

import math
import re
from decimal import Decimal
from string import ascii_uppercase
from typing import Any

from stages.rows.columns import lettered, text_of_option
from stages.rows.options import Options
from stages.rows.turns import PROMPT_KEYS, answer_of, prompt_of, turns_of, user
from stages.rows.types import Fields, GrpoRow, Message, PreferenceRow
from stages.rows.values import ENCODE, Unreadable, has, key_of

ASKED = (*PROMPT_KEYS, "instruction")
OPTION_KEYS = ("options", "choices")
RIGHT_KEYS = (
    "answerKey",
    "answer_key",
    "answer",
    "answer_idx",
    "correct",
    "correct_answer",
    "target",
    "gold",
    "ground_truth",
)
RESPONSE_KEYS = ("responses", "completions", "candidates", "answers")
SCORE_KEYS = ("scores", "ratings", "rewards")
SCORES_WITHIN = ("score", "overall_score", "rating", "reward")
TEXTS_WITHIN = ("response", "text", "content", "completion", "answer")
# two answers side by side, and what says which is the better one
SIDES = [
    ("response_0", "response_1"), ("response_1", "response_2"), ("response1", "response2"), ("response_a", "response_b"),
    ("answer_0", "answer_1"), ("answer_a", "answer_b"), ("output_1", "output_2"), ("completion_a", "completion_b"),
    ("conversation_a", "conversation_b"), ("human_ref_A", "human_ref_B"),
]  # fmt: skip
# what else says which is better: the score of each, or, of Reddit's pairs, 1 for the first
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
MOST_DIGITS = 9  # of what names an option or a side; Python refuses to read thousands of them
LETTERED = re.compile(r"\s*\(?([A-Za-z])[).:]\s*\S")


# -- options of a question --------------------------------------------------------------------------------------------


def read_multiple_choice(record: Fields) -> tuple[str, GrpoRow]:
    """The question with its options below it, and the letter of the right one."""
    asked, key, right = key_of(record, ASKED), key_of(record, OPTION_KEYS), key_of(record, RIGHT_KEYS)
    written, options = text_of_option(record[key], key), record[key]
    several = isinstance(options, (list, dict))
    if not several and record[right] is not None:
        raise Unreadable("ingest.wrong_type", f"{right}: expected options as a list or an object")
    texts = lettered(options, key) if several else {}
    letters = letters_of(options) if isinstance(options, list) else None
    if letters is not None:  # they have their own
        written, texts = "\n".join(options), dict(zip(letters, options, strict=True))
    prompt = prompt_of(record, asked)
    if prompt[-1]["role"] != "user":
        raise Unreadable("ingest.wrong_type", f"{asked}: the options need a question before them")
    prompt = [*prompt[:-1], user(f"{prompt[-1]['content']}\n{written}")]
    used = {asked, key, right, "input", "context", "history"}
    extra = ENCODE({name: value for name, value in record.items() if name not in used}).decode()
    return "grpo", {"prompt": prompt, "ground_truth": letter_of(record[right], texts, right), "extra": extra}


def letters_of(options: list[Any]) -> list[str] | None:
    """The letters with which options begin, or None where these are not A, B, C ..."""
    found = [LETTERED.match(option) for option in options if isinstance(option, str)]
    letters = [match[1].upper() for match in found if match]
    return letters if letters and letters == list(ascii_uppercase[: len(options)]) else None


def letter_of(right: object, options: dict[str, str], where: str) -> str | None:
    """The letter of the right one of options, {letter: text}, given as a letter, as a number from 0, or as its text. Raises Unreadable."""
    if right is None:
        return None
    letters = list(options)
    if isinstance(right, str):
        right = right.strip()
        if right in options or right.upper() in options:
            return right if right in options else right.upper()
        if texts := [letter for letter, text in options.items() if text == right]:
            return texts[0]
        right = int(right) if right.isdecimal() and len(right) <= MOST_DIGITS else right
    if isinstance(right, int) and not isinstance(right, bool) and 0 <= right < len(letters):
        return letters[right]
    raise Unreadable("ingest.wrong_type", f"{where}: {right!r} is none of the options {', '.join(letters)}")


# -- answers with scores ------------------------------------------------------------------------------------------------


def read_scored(record: Fields, options: Options) -> tuple[str, list[PreferenceRow]]:
    """Pairs of answers to one prompt: the best against the worst, or all whose scores differ by more than `margin`."""
    prompt, scored = prompt_of(record, key_of(record, ASKED)), scored_answers(record)
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
    key = key_of(record, RESPONSE_KEYS)
    answers = record[key]
    if not isinstance(answers, list) or len(answers) < 2:
        raise Unreadable("ingest.wrong_type", f"{key}: expected a list of two answers or more")
    scores = next((record[name] for name in SCORE_KEYS if has(record, name)), None)
    if scores is None:
        inner = [each if isinstance(each, dict) else {} for each in answers]
        scores = [score_within(each) for each in inner]
        answers = [next((each[name] for name in TEXTS_WITHIN if has(each, name)), None) for each in inner]
    found = [number_of(score) for score in scores] if isinstance(scores, list) else []
    numbers = [number for number in found if number is not None]
    if not len(numbers) == len(found) == len(answers):
        raise Unreadable("ingest.wrong_type", f"{key}: expected a number as the score of each answer")
    return [
        (answer_of(answer, f"{key}[{i}]"), score)
        for i, (answer, score) in enumerate(zip(answers, numbers, strict=True))
    ]


def score_within(answer: Fields) -> Any:
    """The score that an answer has beside its text, or its rank as one: the first is the best."""
    found = next((answer[name] for name in SCORES_WITHIN if has(answer, name)), None)
    rank = number_of(answer.get("rank")) if found is None else None
    return found if rank is None else -rank


def number_of(value: Any) -> float | None:
    """A score as a finite number, or None; CSV has texts."""
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
    """Two answers, of which the record says which is the better one. A tie is no pair."""
    sides = sides_of(record)
    if sides is None:
        raise Unreadable("ingest.missing_key", f"no two answers, such as {' and '.join(SIDES[0])}")
    better = better_of(record, sides, options.margin or 0)
    chosen, rejected = (answer_of(record[sides[i]], sides[i]) for i in (better, 1 - better))
    if sides[0].startswith("conversation"):
        chosen, rejected = (turns_of(record[sides[i]], sides[i]) for i in (better, 1 - better))
        shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
        if not shared:
            raise Unreadable("ingest.no_prompt", "the two conversations share no first turn")
        return "preference", {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}
    if isinstance(record.get("context"), list) and not any(has(record, name) for name in ASKED):
        prompt = turns_of(record["context"], "context")  # HelpSteer3: the conversation before the answers
    elif isinstance(record.get("history"), str) and not any(has(record, name) for name in ASKED):
        prompt = [user(record["history"])]  # SHP: a post
    else:
        key = key_of(record, ASKED)
        asked = record[key].get("full_text") if isinstance(record[key], dict) else None  # WebGPT: an object
        prompt = prompt_of(record if asked is None else record | {key: asked}, key)
    return "preference", {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def better_of(record: Fields, sides: tuple[str, str], margin: float) -> int:
    """0 or 1, the side that is better. Raises Unreadable where none is, by more than `margin` where both have scores."""
    key = next((key for key in (*WINNER_KEYS, FIRST_IS_1.get(sides)) if has(record, key)), None)
    if key is not None:
        better = winner_of(record[key], sides, key)
        if better is None:
            raise Unreadable("ingest.no_pair", f"{key}: {record[key]!r} says that none is better")
        return better
    keys = SIDE_SCORES.get(sides)
    if keys is None:
        raise Unreadable("ingest.missing_key", f"expected one of {', '.join(WINNER_KEYS)}")
    first, second = (number_of(record.get(key)) for key in keys)
    if first is None or second is None:
        raise Unreadable("ingest.wrong_type", f"{', '.join(keys)}: expected a number as the score of each answer")
    if abs(first - second) <= margin:
        raise Unreadable("ingest.no_pair", f"no two answers whose scores differ by more than {margin:g}")
    return int(second > first)


def sides_of(record: Fields) -> tuple[str, str] | None:
    """The names of the two answers that a record has side by side, or None."""
    return next((sides for sides in SIDES if all(has(record, side) for side in sides)), None)


def winner_of(value: Any, sides: tuple[str, str], where: str) -> int | None:
    """0 or 1, the side that is better, or None for a tie. Raises Unreadable."""
    ends = [side.removeprefix("response").removeprefix("answer").removeprefix("output").strip("_") for side in sides]
    if isinstance(value, str):
        said = value.strip().lower()
        if said in ("tie", "both", "tie (bothbad)", "equal", "none", "neither"):
            return None
        for side, (name, end) in enumerate(zip(sides, ends, strict=True)):
            if said in (name, end, f"model_{end[-1:]}", f"model_{'ab'[side]}", "ab"[side], f"response_{'ab'[side]}"):
                return side
        value = int(said) if re.fullmatch(r"-?\d+", said) and len(said) <= MOST_DIGITS else value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if where == FIRST_IS_1.get(sides) and value in (0, 1):
            return int(value == 0)
        if where == "overall_preference":  # below 0 for the first, above for the second
            return None if value == 0 else int(value > 0)
        numbers = [int(end) for end in ends if end.isdecimal()]
        if value in (numbers if len(numbers) == 2 else (0, 1)):
            return (numbers if len(numbers) == 2 else [0, 1]).index(int(value))
    raise Unreadable("ingest.wrong_type", f"{where}: {value!r} names none of {' and '.join(sides)}")


# -- how they are told --------------------------------------------------------------------------------------------------


def told(record: Fields) -> tuple[str, tuple[str, ...]] | None:
    """(shape, the keys that tell it) of a record that holds several answers, or None."""
    asked = next((key for key in ASKED if has(record, key)), None)
    if sides := sides_of(record):
        if winner := next((key for key in (*WINNER_KEYS, FIRST_IS_1.get(sides)) if has(record, key)), None):
            return "compared", (*sides, winner)
        if all(has(record, key) for key in SIDE_SCORES.get(sides, ("",))):
            return "compared", (*sides, *SIDE_SCORES[sides])
    if asked is None:
        return None
    listed = next((key for key in RESPONSE_KEYS if isinstance(record.get(key), list) and len(record[key]) > 1), None)
    if listed:
        scores = next((key for key in SCORE_KEYS if isinstance(record.get(key), list)), None)
        within = isinstance(record[listed][0], dict) and any(
            has(record[listed][0], key) for key in (*SCORES_WITHIN, "rank")
        )
        if scores or within:
            return "scored", tuple(filter(None, (asked, listed, scores)))
    options = next((key for key in OPTION_KEYS if isinstance(record.get(key), (list, dict)) and record[key]), None)
    right = next((key for key in RIGHT_KEYS if has(record, key)), None)
    if options and right:
        return "multiple_choice", (asked, options, right)
    return None
