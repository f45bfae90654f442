"""Hashes of the lists of code that `stages/code.py` writes. They tell with which code a result was made.

.build/code/train                  all code that `train` runs
.build/code/rewards/exact_match    a reward function, and all that it calls
.build/code/measures/answers       the code of `evaluate` that generates answers
"""

import hashlib
from pathlib import Path

CODE_FOLDER = Path(".build/code")


def code_hash(name: str) -> str:
    """The sha256 of a list. Raises FileNotFoundError where `code` has not run."""
    return hashlib.sha256((CODE_FOLDER / name).read_bytes()).hexdigest()


def reward_code_hashes() -> dict[str, str]:
    """{function of validators/rewards.py: sha256 of its list}."""
    return {path.name: code_hash(f"rewards/{path.name}") for path in sorted((CODE_FOLDER / "rewards").iterdir())}
