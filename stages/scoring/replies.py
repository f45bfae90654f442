"""What a judge said to one question, wherever it runs.

Said("The first is right. [[A]]"), Said("<think>Both", "cut")
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """text: as it came. why: "", or why it is no answer: `cut` (at its limit of tokens), `long` (more than it can read), `refused`."""

    text: str
    why: str = ""
