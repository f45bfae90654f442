"""Which of the sampled answers are right, by a function that returns 1 or 0.

    grade_answers("numeric_match", rows, [["It is 7.", "8"], ...], "difficulty.problems.by") -> [[1.0, 0.0], ...]

A shaped reward is refused: it gives a wrong answer a part of the reward, so a prompt that is never answered rightly would
look half easy.
"""

import math
from collections.abc import Sequence

from stages.rows.types import Row
from stages.training.reward_calls import call_function
from validators.problems import Problem, Problems

CHUNK = 1024  # rows in one call of the function


def grade_answers(
    function: str, rows: Sequence[Row], answers: Sequence[list[str]], where: str
) -> list[list[float | None]]:
    """1 or 0 for each answer to each row, None where the function returns None. Raises Problems where it returns another value.

    rows: with prompt, ground_truth, extra, source, line.
    """
    grades = []
    for first in range(0, len(rows), CHUNK):
        part = slice(first, first + CHUNK)
        pairs = [(row, text) for row, texts in zip(rows[part], answers[part], strict=True) for text in texts]
        values = iter(grade_pairs(function, pairs, where))
        grades += [[next(values) for _ in texts] for texts in answers[part]]
    return grades


def grade_pairs(function: str, pairs: list[tuple[Row, str]], where: str) -> list[float | None]:
    """The grade of each answer. pairs: (row, answer)."""
    if not pairs:
        return []
    given = {key: [row[key] for row, _ in pairs] for key in ("ground_truth", "extra")} | {
        "prompts": [row["prompt"] for row, _ in pairs]
    }
    given["completions"] = [[{"role": "assistant", "content": text}] for _, text in pairs]
    values = call_function(function, given, where, [f"{row['source']}:{row['line']}" for row, _ in pairs])
    for value, (row, text) in zip(values, pairs, strict=True):
        if value not in (0, 1) and not math.isnan(value):
            answer = repr(text if len(text) <= 60 else text[:60] + "...")
            found = f"{function} gives {value:g} to the answer {answer} of {row['source']}:{row['line']}"
            hint = "a shaped reward cannot say how hard a prompt is; by: exact_match, or a function of your own"
            raise Problems([Problem(where, found, "1 for a right answer, 0 for a wrong one, None for neither", hint)])
    return [None if math.isnan(value) else value for value in values]
