r"""The answers that a ground truth accepts, and the final answer that a text names, for rewards and for `tilth inspect`.

final_answer("9 + 9 = 18.\n#### 18") -> "18"
final_answer(r"So \boxed{\frac{1}{2}}.") -> r"\frac{1}{2}"
accepted_answers('["18", "eighteen"]') -> ['["18", "eighteen"]', "18", "eighteen"]
"""

import json
import re

BOXED = re.compile(r"\\f?boxed\s*\{")
# forms of a last line that names the answer: GSM8K's mark, `A: 18`, `**Final answer:** 18`, `so the answer is 18.`
LAST_LINE = (
    re.compile(r"####\s*(.+)"),
    re.compile(r"[*_]*(?:(?:final |correct )?answer|A|答案?)[*_]*\s*[:：]\s*[*_]*\s*(.+)", re.IGNORECASE),
    re.compile(r".*\banswer is[:：]?\s+(.+)", re.IGNORECASE),
    re.compile(r".*答案[是为]\s*[:：]?\s*(.+)"),
)


def final_answer(text: str) -> str | None:
    """The final answer that a text names, by its last box, its last <answer> tag or its last line; None where it names none."""
    if boxes := list(BOXED.finditer(text)):
        return clean_answer(text_in_braces(text, boxes[-1].end()))
    before, closed, _ = text.rpartition("</answer>")
    if closed and "<answer>" in before:
        return clean_answer(before.rpartition("<answer>")[2])
    last = text.rstrip().rpartition("\n")[2].strip()
    return next((clean_answer(found[1]) for mark in LAST_LINE if (found := mark.fullmatch(last))), None)


def text_in_braces(text: str, start: int) -> str:
    """The text from `start`, just behind an opening brace, to the brace that closes it; "" where none does."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0) if text[at - 1] != "\\" else 0
        if not depth:
            return text[start:at]
    return ""


def clean_answer(text: str) -> str:
    """An answer without white space, emphasis, math delimiters and a full stop around it."""
    text = text.strip().strip("*`").strip()
    text = text[:-1].rstrip("*") if text.endswith((".", "。")) else text
    for opening, closing in (("$", "$"), (r"\(", r"\)")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and len(text) > 2 and opening not in inner:
            text = inner
    return text.strip()


def is_correct(answer: str, truth: str) -> bool:
    """True where an answer, as a whole or by its final answer, is one that the ground truth accepts."""
    right, final = accepted_answers(truth), final_answer(answer)
    return answer.strip() in right or (bool(final) and final in map(clean_answer, right))


def accepted_answers(truth: str) -> list[str]:
    """The answers that a ground truth accepts: itself, each item of a JSON list, the final answer of a solution."""
    answers = [truth.strip(), *alternatives(truth)]
    return [*answers, final] if (final := final_answer(truth)) else answers


def alternatives(truth: str) -> list[str]:
    """The items of a ground truth that is a JSON list of texts and numbers, as texts; [] for any other. Any of them is right."""
    if not truth.lstrip().startswith("["):
        return []
    try:
        items = json.loads(truth, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return []
    flat = isinstance(items, list) and all(item is None or isinstance(item, str) for item in items)
    return [item.strip() for item in items if item and item.strip()] if flat else []
