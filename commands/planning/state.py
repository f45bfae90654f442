"""What `tilth plan` knows of a path, and what it decides of a stage: here alone, hashes that are not there yet are foreseen."""

from collections.abc import Callable
from dataclasses import dataclass, field

RUNS, RESTORED, MAY_RUN, UNCHANGED, RECORDED = "runs", "restored", "may run", "unchanged", "recorded"
SAME, CHANGED, UNKNOWN = "same", "changed", "unknown"


@dataclass
class State:
    """A path as a stage will find it. fits: whether a hash could be its, where it is not known.

    hash: the md5, of a file of parameters {key: value}; None where it is not known.
    """

    verdict: str
    hash: str | dict | None = None
    fits: Callable = lambda md5: True
    why: str = ""


@dataclass
class Decision:
    """What becomes of a stage. why: Differences, of which `commands/planning/reasons.py` makes words."""

    stage: str
    verdict: str
    why: list = field(default_factory=list)
