"""Reward functions for GRPO: what an answer is worth. Every public function here can be named in a step's `rewards:`.

Each follows TRL's signature: `completions` (n conversations), the dataset's columns by name (`ground_truth`, n texts;
`extra`, n JSON texts with every other field of the raw record), and returns n floats, or None where it does not apply.
Another parameter that a function names is that field of `extra`: n values, parsed, None where a row has no such field.

    exact_match([[{"role": "assistant", "content": " cba"}]], ground_truth=["cba"]) -> [1.0]
"""

import math
from typing import Any

from validators._answers import answer_of
from validators._mathematics import mathematically_equal
from validators._truths import alternatives, clean_answer, final_answer, is_correct, last_number

Answer = str | list[dict[str, Any]]  # a text, or a conversation whose last message is the model's


def exact_match(completions: list[Answer], ground_truth: list[str], **_: object) -> list[float]:
    r"""1 where the answer, or what it names in the end, is the ground truth or one of a JSON list of them; else 0.

    In the end an answer names the last `\boxed{}`, or what its last line marks: `#### 18`, `A: 18`, `The answer is 18.`
    """
    return [float(is_correct(_text(answer), truth)) for answer, truth in zip(completions, ground_truth, strict=True)]


def numeric_match(completions: list[Answer], ground_truth: list[str], **_: object) -> list[float]:
    """1 where the last number of the answer equals that of the ground truth, or one of a JSON list of them; else 0.

    Where an answer names something in the end, as for `exact_match`, it is the last number of that.
    """
    return [
        float(any(_close(_number(_text(answer)), _number(one)) for one in alternatives(truth) or [truth]))
        for answer, truth in zip(completions, ground_truth, strict=True)
    ]


def math_verify(completions: list[Answer], ground_truth: list[str], **_: object) -> list[float]:
    r"""1 where the answer equals the ground truth, or one of a JSON list of them, as mathematics or as `exact_match`; else 0.

    `\frac{1}{2}`, `0.5` and `$\frac12$` are equal, and `5\text{ cm}` is 5: units are not compared. Needs the extra `math`.
    """
    return [
        float(is_correct(_text(answer), truth) or _equal(_text(answer), truth))
        for answer, truth in zip(completions, ground_truth, strict=True)
    ]


def one_word(completions: list[Answer], **_: object) -> list[float]:
    """A format reward: 1 where the answer is one word and nothing else; else 0."""
    return [float(len(_text(answer).split()) == 1) for answer in completions]


def _text(answer: Answer) -> str:
    """What the model answers, its reasoning aside: TRL gives a text, or a conversation whose last message is the model's."""
    return answer_of(answer if isinstance(answer, str) else answer[-1]["content"] or "")


def _equal(answer: str, truth: str) -> bool:
    """Whether what an answer names in the end, else the last that is mathematics in it, equals a ground truth."""
    final, named = final_answer(answer), final_answer(truth)
    right = alternatives(truth) or [truth if named is None else named]
    said = answer if final is None else final if "%" in final else rf"\boxed{{{final}}}"
    # math-verify reads 10% as a share, and \boxed{10\%} as nothing
    return bool(said) and any(
        mathematically_equal(*(text.replace(r"\%", "%") for text in (clean_answer(one), said))) for one in right
    )


def _number(text: str) -> float | None:
    """The last number of what a text names in the end, else of the whole, or None."""
    final = final_answer(text)
    return last_number(text if final is None else final)


def _close(a: float | None, b: float | None) -> bool:
    # infinities are equal to each other, so a long enough run of digits would earn the reward
    return a is not None and b is not None and math.isfinite(a + b) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
