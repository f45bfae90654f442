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

from stages.rows.columns import options_as_text, options_by_letter
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
)
RESPONSE_KEYS = ("responses", "completions", "candidates", "answers")
SCORE_KEYS = ("scores", "ratings", "rewards")
INNER_SCORE_KEYS = ("score", "overall_score", "rating", "reward")
INNER_TEXT_KEYS = ("response", "text", "content", "completion", "answer")
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
MAX_DIGITS = 9  # of what names an option or a side; Python refuses to read thousands of them
LETTERED_OPTION = re.compile(r"\s*\(?([A-Za-z])[).:]\s*\S")


# -- options of a question --------------------------------------------------------------------------------------------


def read_multiple_choice(record: Fields) -> tuple[str, GrpoRow]:
    """The question with its options below it, and the letter of the right one."""
    asked, key, right = (
        first_key(record, QUESTION_KEYS),
        first_key(record, OPTION_KEYS),
        first_key(record, CORRECT_OPTION_KEYS),
    )
    written, options = options_as_text(record[key], key), record[key]
    several = isinstance(options, (list, dict))
    if not several and record[right] is not None:
        raise Unreadable("ingest.wrong_type", f"{right}: expected options as a list or an object")
    texts = options_by_letter(options, key) if several else {}
    letters = leading_letters(options) if isinstance(options, list) else None
    if letters is not None:  # they have their own
        written, texts = "\n".join(options), dict(zip(letters, options, strict=True))
    prompt = prompt_of(record, asked)
    if prompt[-1]["role"] != "user":
        raise Unreadable("ingest.wrong_type", f"{asked}: the options need a question before them")
    prompt = [*prompt[:-1], user(f"{prompt[-1]['content']}\n{written}")]
    used = {asked, key, right, "input", "context", "history"}
    extra = ENCODE({name: value for name, value in record.items() if name not in used}).decode()
    return "grpo", {"prompt": prompt, "ground_truth": correct_letter(record[right], texts, right), "extra": extra}


def leading_letters(options: list[Any]) -> list[str] | None:
    """The letters with which options begin, or None where these are not A, B, C ..."""
    found = [LETTERED_OPTION.match(option) for option in options if isinstance(option, str)]
    letters = [match[1].upper() for match in found if match]
    return letters if letters and letters == list(ascii_uppercase[: len(options)]) else None


def correct_letter(right: object, options: dict[str, str], where: str) -> str | None:
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
        right = int(right) if right.isdecimal() and len(right) <= MAX_DIGITS else right
    if isinstance(right, int) and not isinstance(right, bool) and 0 <= right < len(letters):
        return letters[right]
    raise Unreadable("ingest.wrong_type", f"{where}: {right!r} is none of the options {', '.join(letters)}")


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
    found = [finite_number(score) for score in scores] if isinstance(scores, list) else []
    numbers = [number for number in found if number is not None]
    if not len(numbers) == len(found) == len(answers):
        raise Unreadable("ingest.wrong_type", f"{key}: expected a number as the score of each answer")
    return [
        (answer_of(answer, f"{key}[{i}]"), score)
        for i, (answer, score) in enumerate(zip(answers, numbers, strict=True))
    ]


def score_of_answer(answer: Fields) -> Any:
    """The score that an answer has beside its text, or its rank as one: the first is the best."""
    found = next((answer[name] for name in INNER_SCORE_KEYS if has_value(answer, name)), None)
    rank = finite_number(answer.get("rank")) if found is None else None
    return found if rank is None else -rank


def finite_number(value: Any) -> float | None:
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
        asked = record[key].get("full_text") if isinstance(record[key], dict) else None  # WebGPT: an object
        prompt = prompt_of(record if asked is None else record | {key: asked}, key)
    return "preference", {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def better_side(record: Fields, sides: tuple[str, str], margin: float) -> int:
    """0 or 1, the side that is better. Raises Unreadable where none is, by more than `margin` where both have scores."""
    key = next((key for key in (*WINNER_KEYS, FIRST_IS_1.get(sides)) if has_value(record, key)), None)
    if key is not None:
        better = parse_winner(record[key], sides, key)
        if better is None:
            raise Unreadable("ingest.no_pair", f"{key}: {record[key]!r} says that none is better")
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


def sides_of(record: Fields) -> tuple[str, str] | None:
    """The names of the two answers that a record has side by side, or None."""
    return next((sides for sides in SIDES if all(has_value(record, side) for side in sides)), None)


def parse_winner(value: Any, sides: tuple[str, str], where: str) -> int | None:
    """0 or 1, the side that is better, or None for a tie. Raises Unreadable."""
    ends = [side.removeprefix("response").removeprefix("answer").removeprefix("output").strip("_") for side in sides]
    if isinstance(value, str):
        said = value.strip().lower()
        if said in ("tie", "both", "tie (bothbad)", "equal", "none", "neither"):
            return None
        for side, (name, end) in enumerate(zip(sides, ends, strict=True)):
            if said in (name, end, f"model_{end[-1:]}", f"model_{'ab'[side]}", "ab"[side], f"response_{'ab'[side]}"):
                return side
        value = int(said) if re.fullmatch(r"-?\d+", said) and len(said) <= MAX_DIGITS else value
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


def shape_of_choices(record: Fields) -> tuple[str, tuple[str, ...]] | None:
    """(shape, the keys that tell it) of a record that holds several answers, or None."""
    asked = next((key for key in QUESTION_KEYS if has_value(record, key)), None)
    if sides := sides_of(record):
        if winner := next((key for key in (*WINNER_KEYS, FIRST_IS_1.get(sides)) if has_value(record, key)), None):
            return "compared", (*sides, winner)
        if all(has_value(record, key) for key in SIDE_SCORES.get(sides, ("",))):
            return "compared", (*sides, *SIDE_SCORES[sides])
    if asked is None:
        return None
    listed = next((key for key in RESPONSE_KEYS if isinstance(record.get(key), list) and len(record[key]) > 1), None)
    if listed:
        scores = next((key for key in SCORE_KEYS if isinstance(record.get(key), list)), None)
        within = isinstance(record[listed][0], dict) and any(
            has_value(record[listed][0], key) for key in (*INNER_SCORE_KEYS, "rank")
        )
        if scores or within:
            return "scored", tuple(filter(None, (asked, listed, scores)))
    options = next((key for key in OPTION_KEYS if isinstance(record.get(key), (list, dict)) and record[key]), None)
    right = next((key for key in CORRECT_OPTION_KEYS if has_value(record, key)), None)
    if options and right:
        return "multiple_choice", (asked, options, right)
    return None
