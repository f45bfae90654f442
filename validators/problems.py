"""How a user's mistake is shown: where it is, what was found, what was expected, what to do.

params.yaml: steps.align.dataset: 'pairs' is a preference dataset, but kto needs kind kto
  hint: datasets of that kind: feedback
"""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake. `found` and `expected` make one sentence; `hint` says what to type next."""

    where: str
    found: str
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        return text + (f"\n  hint: {self.hint}" if self.hint else "")


class Problems(Exception):
    """All mistakes, in order. The command line prints them and exits with 1."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> "tuple[type[Problems], tuple[list[Problem]]]":
        # needed for other processes: by default an exception is rebuilt from its text, but this one takes problems
        return Problems, (self.problems,)


def did_you_mean(word: object, known: Collection[str]) -> str:
    """A hint: `did you mean 'x'?` with the nearest known word, else the list of known words."""
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(sorted(known))
