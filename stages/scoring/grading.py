"""Which of the sampled answers are right, by a function that says 1 or 0.

    judged("numeric_match", rows, [["It is 7.", "8"], ...], "difficulty.problems.by") -> [[1.0, 0.0], ...]

A shaped reward is refused: where a wrong answer earns a part, a prompt that is never answered rightly would look half easy.
"""

import math
from collections.abc import Sequence

from stages.training.reward_calls import call_function
from validators.problems import Problem, Problems

CHUNK = 1024  # rows whose answers a function is given at once


def grade_answers(
    function: str, rows: Sequence[dict], said: Sequence[list[str]], where: str
) -> list[list[float | None]]:
    """1 or 0 for each answer to each row, None where the function says nothing of it. Raises Problems where it says something else.

    rows: with prompt, ground_truth, extra, source, line.
    """
    found = []
    for first in range(0, len(rows), CHUNK):
        part = slice(first, first + CHUNK)
        pairs = [(row, text) for row, texts in zip(rows[part], said[part], strict=True) for text in texts]
        values = iter(grade_pairs(function, pairs, where))
        found += [[next(values) for _ in texts] for texts in said[part]]
    return found


def grade_pairs(function: str, pairs: list[tuple[dict, str]], where: str) -> list[float | None]:
    """What the function gives each answer. pairs: (row, answer)."""
    if not pairs:
        return []
    given = {key: [row[key] for row, _ in pairs] for key in ("ground_truth", "extra")} | {
        "prompts": [row["prompt"] for row, _ in pairs]
    }
    given["completions"] = [[{"role": "assistant", "content": text}] for _, text in pairs]
    values = call_function(function, given, where, [f"{row['source']}:{row['line']}" for row, _ in pairs])
    for value, (row, text) in zip(values, pairs, strict=True):
        if value not in (0, 1) and not math.isnan(value):
            said = repr(text if len(text) <= 60 else text[:60] + "...")
            found = f"{function} gives {value:g} to the answer {said} of {row['source']}:{row['line']}"
            hint = "a shaped reward cannot say how hard a prompt is; by: exact_match, or a function of your own"
            raise Problems([Problem(where, found, "1 for a right answer, 0 for a wrong one, None for neither", hint)])
    return [None if math.isnan(value) else value for value in values]
