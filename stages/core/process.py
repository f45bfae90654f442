"""One trainer a step, which ends with what started it: a killed `dvc` must not leave one that holds the GPU.

    dvc repro -> sh -c -> accelerate launch -> python -m stages train sft     any of them gone: the trainer is gone

Linux kills a process whose parent ends (PR_SET_PDEATHSIG), and a thread watches the whole way up to `dvc`, since a shell
or a launcher that stands between may outlive it.
"""

import ctypes
import os
import signal
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from validators.problems import Problem, Problems

if TYPE_CHECKING:
    import psutil
    from filelock import BaseFileLock

WATCH_S = 1.0
# memory that a batch gives back is what the next one takes: to fetch it anew from the system costs a tenth of the time
RETAINED_BYTES = 1_000_000_000
ALLOCATOR_SETTINGS = {
    "MIMALLOC_PURGE_DELAY": "-1",
    "MALLOC_TRIM_THRESHOLD_": str(RETAINED_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(RETAINED_BYTES),
}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STAGE_VARIABLE = "DVC_STAGE"  # dvc sets it for the commands of stages, and has it not itself
REAPERS = {"init", "systemd", "launchd", "tini", "dumb-init", "docker-init", "catatonit"}  # adopt what is left behind


@cache
def end_with_parent() -> None:
    """From here on this process is killed when what started it is gone; at once if that is gone already."""
    parents = starter_processes()
    if is_orphaned(parents):
        raise SystemExit("train: the dvc that started this is gone")
    if not parents:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # the first look is after prctl: a parent that ended before it is noticed here
    threading.Thread(target=watch_parents, args=(parents,), daemon=True).start()


def starter_processes() -> "list[psutil.Process]":
    """The direct parent; under DVC every process up to dvc itself. Nothing under nohup, which is there to outlive."""
    import psutil

    stage, found = os.environ.get(STAGE_VARIABLE), []
    if stage is None and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return []
    parent = parent_of(psutil.Process())
    while parent is not None:
        found.append(parent)
        if stage is None or environment_of(parent).get(STAGE_VARIABLE) != stage:
            break
        parent = parent_of(parent)
    return found


def parent_of(process: "psutil.Process") -> "psutil.Process | None":
    """The parent of a process; None above the first one, or where the system hides it."""
    import psutil

    try:
        return process.parent()
    except psutil.Error:
        return None


def environment_of(process: "psutil.Process") -> dict[str, str]:
    import psutil

    try:
        return process.environ()
    except psutil.Error:
        return {}


def is_orphaned(parents: "list[psutil.Process]") -> bool:
    """True where DVC started this process and a reaper has adopted it, or one of those between, since."""
    import psutil

    if STAGE_VARIABLE not in os.environ or not parents:
        return False
    try:
        top = parents[-1]
        return (top.pid == 1 or top.name() in REAPERS) and not any("dvc" in word for word in top.cmdline())
    except psutil.Error:
        return True


def watch_parents(parents: "list[psutil.Process]") -> None:
    never = threading.Event()  # its wait goes on where a clock that is set back makes time.sleep fail
    while not any(has_ended(parent) for parent in parents):
        never.wait(WATCH_S)
    os.kill(os.getpid(), signal.SIGKILL)


def has_ended(process: "psutil.Process") -> bool:
    """True where a process is gone, or dead and not yet buried by its own parent."""
    import psutil

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def retain_freed_memory() -> None:
    """Let this process and its workers hold what they free; before Arrow is imported, as it reads its settings then."""
    for name, value in ALLOCATOR_SETTINGS.items():
        os.environ.setdefault(name, value)
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_TRIM_THRESHOLD, RETAINED_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, RETAINED_BYTES)


def lock_step(work: Path, timeout_s: float = 5) -> "BaseFileLock":
    """A lock on the step: a second trainer would write over the first. It is the kernel's, so it dies with its holder.

    timeout_s: a trainer whose dvc was killed just now needs a moment to follow it.
    """
    from filelock import FileLock, Timeout

    work.mkdir(parents=True, exist_ok=True)
    # the processes of one `accelerate launch` are one trainer, and each of them has its own lock
    lock = FileLock(work / f"lock.{os.environ.get('RANK', '0')}")
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        found, hint = "another process trains this step", f"wait for it, or end it: fuser {work}/lock.0"
        raise Problems([Problem(f"steps.{work.name}", found, "one trainer a step", hint)]) from None
    return lock
