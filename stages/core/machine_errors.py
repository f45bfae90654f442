"""Failures of the machine during a stage (a full disk, a killed process), in one line instead of a traceback.

ingest chat: the disk is full: Error writing bytes to file. Detail: [errno 28] No space left on device
  hint: `df -h . .work /tmp` shows which disk; free some space, then dvc repro continues
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from validators.problems import Problem

# Arrow, DuckDB, safetensors and torch have no common exception for a full disk, so its message is searched
DISK_FULL_SIGNS = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "failed to offload data block",  # DuckDB, when memory and disk are both full
    "inline_container.cc",  # torch.save, when it cannot write
)
READ_ONLY = os.strerror(errno.EROFS)


def machine_problem(what: str, error: BaseException) -> Problem | None:
    """The Problem for a full or read-only disk, or for a killed worker; None for any other error."""
    for each in error_chain(error):
        text = " ".join(str(each).split())[:300]
        if any(sign in text for sign in DISK_FULL_SIGNS):
            hint = (
                f"`df -h . .work {tempfile.gettempdir()}` shows which disk; free some space, then dvc repro continues"
            )
            return Problem(what, f"the disk is full: {text}", "", hint)
        if READ_ONLY in text:
            return Problem(what, f"the disk is read-only: {text}", "", "mount it writable, then dvc repro")
        if isinstance(each, BrokenProcessPool):
            hint = "`dmesg` says whether memory ran out; dvc repro runs the stage again"
            return Problem(what, "one of its processes was killed from outside", "", hint)
    return None


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and the exceptions that caused it, latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
