"""Raw data that `dvc add` or `dvc import-url` keeps: no build uses a change that the user has not accepted.

If such data differ from their .dvc file, `dvc repro` writes their new hash into the file and continues, as if they had been
added again. Git's index keeps the old hash: `git add` accepts the change.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

from validators.problems import Problem


def dvc_files(raw: str) -> list[Path]:
    """The .dvc files beside a raw path or a folder around it, and those inside it, in order."""
    path = Path(raw)
    candidates = (Path(f"{place}.dvc") for place in (path, *path.parents) if place.name)
    return sorted(file for file in {*candidates, *path.rglob("*.dvc")} if file.is_file())


def unaccepted_problems(raw: str) -> list[Problem]:
    """A Problem for each .dvc file of a raw path that differs from git's index. A file that is new to git has none."""
    files = [file.as_posix() for file in dvc_files(raw)]
    if not files or not shutil.which("git"):
        return []
    command = ["git", "--literal-pathspecs", "diff", "--name-only", "--relative", "-z", "--no-ext-diff", "--", *files]
    names = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\0")
    return [unaccepted_problem(name, shlex.quote(name)) for name in names if name]


def unaccepted_problem(name: str, quoted: str) -> Problem:
    hint = f"if the change is meant: git add {quoted}; else: git checkout {quoted} && dvc checkout {quoted}"
    return Problem(name, "its data changed since this file was added to git", "the data of git's version", hint)
