"""Reward functions for GRPO. A step can name every public function of this module in its `rewards:`.

Each has TRL's signature. It takes `completions` (n conversations) and the dataset's columns by name (`ground_truth`, n texts;
`extra`, n JSON texts with every other field of the raw record). It returns n floats, or None where it does not apply.
Any other parameter is a field of `extra` with that name: n parsed values, None where a row has no such field.

    exact_match([[{"role": "assistant", "content": " cba"}]], ground_truth=["cba"]) -> [1.0]
"""

from typing import Any

from validators._answers import answer_of
from validators._mathematics import mathematically_equal
from validators._numbers import Number, equal, last_number
from validators._truths import alternatives, clean_answer, final_answer, is_correct

Completion = str | list[dict[str, Any]]  # TRL passes a text, or a conversation whose last message is the model's


def exact_match(completions: list[Completion], ground_truth: list[str], **_: object) -> list[float]:
    r"""1 where the answer, or the final answer in it, is the ground truth or one of a JSON list of them; else 0.

    The final answer is the last `\boxed{}`, or what the last line marks: `#### 18`, `A: 18`, `The answer is 18.`
    """
    return [float(is_correct(_text(answer), truth)) for answer, truth in zip(completions, ground_truth, strict=True)]


def numeric_match(completions: list[Completion], ground_truth: list[str], **_: object) -> list[float]:
    """1 where the last number of the answer equals that of the ground truth, or one of a JSON list of them; else 0.

    Where the answer names a final answer, as for `exact_match`, the last number of that counts. docs/rewards.md lists what is
    read as one number.
    """
    return [
        float(any(equal(_number(_text(answer)), _number(one)) for one in alternatives(truth) or [truth]))
        for answer, truth in zip(completions, ground_truth, strict=True)
    ]


def math_verify(completions: list[Completion], ground_truth: list[str], **_: object) -> list[float]:
    r"""1 where the answer equals the ground truth, or one of a JSON list of them, as mathematics or as `exact_match`; else 0.

    `\frac{1}{2}`, `0.5` and `$\frac12$` are equal, and `5\text{ cm}` is 5: units are not compared. Needs the extra `math`.
    """
    return [
        float(is_correct(_text(answer), truth) or _equal(_text(answer), truth))
        for answer, truth in zip(completions, ground_truth, strict=True)
    ]


def one_word(completions: list[Completion], **_: object) -> list[float]:
    """A format reward: 1 where the answer is one word and nothing else; else 0."""
    return [float(len(_text(answer).split()) == 1) for answer in completions]


def _text(answer: Completion) -> str:
    """The text of an answer without its reasoning."""
    return answer_of(answer if isinstance(answer, str) else answer[-1]["content"] or "")


def _equal(answer: str, truth: str) -> bool:
    """True where the final answer, or else the last mathematics in the text, equals a ground truth."""
    final, final_truth = final_answer(answer), final_answer(truth)
    truths = alternatives(truth) or [truth if final_truth is None else final_truth]
    text = answer if final is None else final if "%" in final else rf"\boxed{{{final}}}"
    # math-verify reads 10% as a share, but finds nothing in \boxed{10\%}
    return bool(text) and any(
        mathematically_equal(*(side.replace(r"\%", "%") for side in (clean_answer(one), text))) for one in truths
    )


def _number(text: str) -> Number | None:
    """The last number of the final answer in a text, else of the whole text; None where there is none."""
    final = final_answer(text)
    return last_number(text if final is None else final)
