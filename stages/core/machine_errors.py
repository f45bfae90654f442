"""What the machine failed at in the middle of a stage, in one line instead of a traceback.

ingest chat: the disk is full: Error writing bytes to file. Detail: [errno 28] No space left on device
  hint: `df -h . .work /tmp` shows which; make room, then dvc repro goes on
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from validators.problems import Problem

# the libraries below the stages (Arrow, DuckDB, safetensors, torch) have no common error for it
DISK_FULL_SIGNS = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "failed to offload data block",  # DuckDB, when it has more than the memory and the disk hold
    "inline_container.cc",  # torch.save, when it cannot write on
)
READ_ONLY = os.strerror(errno.EROFS)


def machine_problem(what: str, error: BaseException) -> Problem | None:
    """The Problem of a stage that ended for a full or read-only disk or a killed worker; None for any other error."""
    for each in error_chain(error):
        text = " ".join(str(each).split())[:300]
        if any(sign in text for sign in DISK_FULL_SIGNS):
            hint = f"`df -h . .work {tempfile.gettempdir()}` shows which; make room, then dvc repro goes on"
            return Problem(what, f"the disk is full: {text}", "", hint)
        if READ_ONLY in text:
            return Problem(what, f"the disk is read-only: {text}", "", "mount it for writing, then dvc repro")
        if isinstance(each, BrokenProcessPool):
            hint = "`dmesg` says whether memory was short; dvc repro starts it again"
            return Problem(what, "one of its processes was killed from outside", "", hint)
    return None


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
