"""The state of a path and the decision on a stage in `tilth plan`. Only here are hashes of future files predicted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from commands.builds.differences import Difference

RUNS, RESTORED, MAY_RUN, UNCHANGED, RECORDED = "runs", "restored", "may run", "unchanged", "recorded"
SAME, CHANGED, UNKNOWN = "same", "changed", "unknown"


@dataclass
class State:
    """A path as a stage will find it. fits: whether a hash is possible for a path whose hash is unknown.

    hash: the md5, or {key: value} for a file of parameters; None where it is unknown. why: the reason, where the path is CHANGED.
    """

    verdict: str
    hash: Any = None
    fits: Callable[[str], bool] = lambda md5: True
    why: str = ""


@dataclass
class Decision:
    """What `dvc repro` does with a stage. why: Differences; `commands/planning/reasons.py` puts them into words."""

    stage: str
    verdict: str
    why: "list[Difference]" = field(default_factory=list)
