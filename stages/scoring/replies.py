"""A judge's reply to one question, wherever the judge runs.

Reply("The first is right. [[A]]"), Reply("<think>Both", "cut")
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """text: as it came. why: "", or why it is no answer: `cut` (at its token limit), `long` (the question is too long), `refused`."""

    text: str
    why: str = ""
