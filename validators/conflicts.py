"""Problems for files in which git left the marks of an unfinished merge, with what to type.

    dvc.lock:12: marks of a merge that is not finished (<<<<<<< HEAD); expected one version
      hint: git checkout --ours dvc.lock && git add dvc.lock && dvc repro

Tilth never restores such a file by itself: that would choose one side silently.
"""

import re
import subprocess
from pathlib import Path

from validators.problems import Problem

CONFLICT_MARK = re.compile(r"^(<{7}|>{7})( .*)?\r?$", re.MULTILINE)


def conflict_problems(*paths: str | Path) -> list[Problem]:
    """A Problem for each file that has marks of a merge. A missing file has none."""
    return [problem for path in paths for problem in conflicts_in(path, read_text(path))]


def conflicts_in(where: str | Path, text: str) -> list[Problem]:
    """The Problem of a text that has marks of a merge, at the first mark; [] where there is none."""
    mark = CONFLICT_MARK.search(text)
    if not mark:
        return []
    line = text.count("\n", 0, mark.start()) + 1
    found = f"marks of a merge that is not finished ({mark[0].strip()})"
    return [Problem(f"{where}:{line}", found, "one version", conflict_hint(str(where)))]


def conflict_hint(where: str) -> str:
    """What to type for a file with marks: a .dvc file, dvc.lock, or any other."""
    if where.endswith(".dvc"):
        return f"git checkout --ours {where} (or --theirs) && git add {where} && dvc checkout {where}: each side names data of its own"
    if not where.endswith("dvc.lock"):
        return f"in each part keep one version, remove the lines <<<<<<<, ======= and >>>>>>>, then git add {where}"
    after = "dvc repro restores from DVC's cache what either side has built"
    if is_unmerged(where):
        return f"git checkout --ours {where} && git add {where}, once params.yaml is right; {after}"
    return f"git checkout COMMIT -- {where}, with a commit that has no marks (git log {where}); {after}"


def is_unmerged(path: str) -> bool:
    """True where git's index still has both sides of a file; only then `git checkout --ours` works."""
    try:
        return bool(subprocess.run(["git", "ls-files", "-u", "--", path], capture_output=True, check=False).stdout)
    except FileNotFoundError:
        return False


def read_text(path: str | Path) -> str:
    """The text of a file; "" where there is none."""
    path = Path(path)
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
