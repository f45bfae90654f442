"""Reward functions for GRPO: what an answer is worth. Every public function here can be named in a step's `rewards:`.

Each follows TRL's signature: `completions` (n conversations), the dataset's columns by name (`ground_truth`, n texts;
`extra`, n JSON texts with every other field of the raw record), and returns n floats, or None where it does not apply.

    exact_match([[{"role": "assistant", "content": " cba"}]], ground_truth=["cba"]) -> [1.0]
"""

import math
import re

from validators._answers import answer_of

NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def exact_match(completions, ground_truth, **_):
    """1 where the answer is the ground truth, white space around it aside; else 0."""
    return [
        float(_text(answer).strip() == truth.strip()) for answer, truth in zip(completions, ground_truth, strict=True)
    ]


def numeric_match(completions, ground_truth, **_):
    """1 where the last number of the answer equals the last number of the ground truth; else 0."""
    return [
        float(_close(_number(_text(answer)), _number(truth)))
        for answer, truth in zip(completions, ground_truth, strict=True)
    ]


def one_word(completions, **_):
    """A format reward: 1 where the answer is one word and nothing else; else 0."""
    return [float(len(_text(answer).split()) == 1) for answer in completions]


def _text(answer):
    """What the model answers, its reasoning aside: TRL gives a text, or a conversation whose last message is the model's."""
    return answer_of(answer if isinstance(answer, str) else answer[-1]["content"] or "")


def _number(text):
    """The last number of a text, or None."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def _close(a, b):
    # infinities are equal to each other, so a long enough run of digits would earn the reward
    return a is not None and b is not None and math.isfinite(a + b) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
