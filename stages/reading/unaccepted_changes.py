"""Raw data that `dvc add` or `dvc import-url` keeps: no build takes in a change that nobody has accepted.

Where such data differ from their .dvc file, `dvc repro` writes their new hash into it and goes on, as if they had been added
anew. What git has of the file does not follow: `git add` is how a change is accepted.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

from validators.problems import Problem


def dvc_files(raw: str) -> list[Path]:
    """The .dvc files beside a raw path or a folder around it, and those inside it, in order."""
    path = Path(raw)
    beside = (Path(f"{place}.dvc") for place in (path, *path.parents) if place.name)
    return sorted(file for file in {*beside, *path.rglob("*.dvc")} if file.is_file())


def unaccepted_problems(raw: str) -> list[Problem]:
    """A Problem for each .dvc file of a raw path that is not as git's index has it; one that is new to git is right."""
    files = [file.as_posix() for file in dvc_files(raw)]
    if not files or not shutil.which("git"):
        return []
    command = ["git", "--literal-pathspecs", "diff", "--name-only", "--relative", "-z", "--no-ext-diff", "--", *files]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\0")
    return [unaccepted_problem(name, shlex.quote(name)) for name in found if name]


def unaccepted_problem(name: str, quoted: str) -> Problem:
    hint = f"if the change is meant: git add {quoted}; else: git checkout {quoted} && dvc checkout {quoted}"
    return Problem(name, "its data changed since git took this file in", "the data that git's version names", hint)
