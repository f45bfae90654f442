"""Git: revisions, and the text of a file at a revision or in the working tree.

text_of(commit_of("v1"), "params.yaml")     # at a commit
text_of(None, "params.yaml")                # in the working tree
git("diff", "--numstat", "v1")              # bytes; None where git fails
"""

import subprocess
from pathlib import Path

from validators.problems import Problem, Problems, did_you_mean


class Missing(Problems):
    """Bytes are neither in the working tree nor in the cache. Commands still answer the rest."""


def git(*arguments: str) -> bytes | None:
    """The output of a git command, None where it fails."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise Problems([Problem("git", "is not installed", "git on the PATH", "install git")]) from None
    return done.stdout if done.returncode == 0 else None


def commit_of(rev: str) -> str:
    """The full hash of a revision. Raises Problems with a hint where it does not exist."""
    if found := git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"):
        return found.decode().strip()
    if git("rev-parse", "--git-dir") is None:
        hint = "git init; without --rev, the command reads the working tree"
        raise Problems([Problem("git", "this folder is not in a git repository", "one with history", hint)])
    if git("rev-parse", "--is-shallow-repository") == b"true\n":
        hint = "git fetch --unshallow"
    else:
        names = (git("for-each-ref", "--format=%(refname:short)") or b"").decode().split()
        hint = did_you_mean(rev, names) if names else "there is no commit yet"
    raise Problems([Problem("git", f"no revision {rev!r}", "a commit, branch or tag", hint)])


def text_of(commit: str | None, path: str | Path) -> str:
    """The text of a file at a commit, or in the working tree. Raises Missing."""
    if commit is None:
        if not Path(path).is_file():
            raise Missing([Problem(str(path), "is not there", "", "git checkout, or a clone of the project")])
        return Path(path).read_text(encoding="utf-8", errors="replace")
    found = git("show", f"{commit}:./{path}")
    if found is None:
        raise Missing([Problem(display_path(commit, path), "is not there", "", "a later commit may have it")])
    return found.decode(errors="replace")


def display_path(commit: str | None, path: str | Path) -> str:
    """A path for an error message, with its commit."""
    return str(path) if commit is None else f"{commit[:10]}:{path}"


def one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
