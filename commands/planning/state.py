"""What `tilth plan` knows of a path, and what it decides of a stage."""

from collections.abc import Callable
from dataclasses import dataclass, field

RUNS, RESTORED, MAY_RUN, UNCHANGED, RECORDED = "runs", "restored", "may run", "unchanged", "recorded"
SAME, CHANGED, UNKNOWN = "same", "changed", "unknown"


@dataclass
class State:
    """A path as a stage will find it. hash: where it is known. fits: whether a hash could be its, where it is not."""

    verdict: str
    hash: object = None
    fits: Callable = lambda md5: True
    why: str = ""


@dataclass
class Decision:
    """What becomes of a stage. why: [{what, ...}], of which `commands/planning/reasons.py` makes words."""

    stage: str
    verdict: str
    why: list = field(default_factory=list)


def hash_of(md5):
    from dvc_data.hashfile.hash_info import HashInfo

    return HashInfo("md5", md5)
