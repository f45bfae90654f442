"""At most one trainer for each step. It ends with the process that started it: a killed `dvc` must not leave a trainer on the GPU.

    dvc repro -> sh -c -> accelerate launch -> python -m stages train sft     where one of them ends, the trainer ends

Linux kills a process whose parent ends (PR_SET_PDEATHSIG). A thread also watches all processes up to `dvc`, as a shell or
a launcher in between may outlive it.
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
# the next batch reuses the memory that a batch frees: to get it from the system again would cost a tenth of the time
RETAINED_BYTES = 1_000_000_000
ALLOCATOR_SETTINGS = {
    "MIMALLOC_PURGE_DELAY": "-1",
    "MALLOC_TRIM_THRESHOLD_": str(RETAINED_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(RETAINED_BYTES),
}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STAGE_VARIABLE = "DVC_STAGE"  # dvc sets it for the commands of stages; dvc itself does not have it
REAPERS = {
    "init",
    "systemd",
    "launchd",
    "tini",
    "dumb-init",
    "docker-init",
    "catatonit",
}  # they adopt orphaned processes


@cache
def end_with_parent() -> None:
    """Make the system kill this process when one of its starters ends. Raises SystemExit where one has ended already."""
    parents = starter_processes()
    if is_orphaned(parents):
        raise SystemExit("train: the dvc that started this is gone")
    if not parents:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # started after prctl: its first look finds a parent that ended before prctl
    threading.Thread(target=watch_parents, args=(parents,), daemon=True).start()


def starter_processes() -> "list[psutil.Process]":
    """The direct parent; under DVC every process up to dvc itself. [] under nohup, whose processes must outlive the parent."""
    import psutil

    stage, parents = os.environ.get(STAGE_VARIABLE), []
    if stage is None and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return []
    parent = parent_of(psutil.Process())
    while parent is not None:
        parents.append(parent)
        if stage is None or environment_of(parent).get(STAGE_VARIABLE) != stage:
            break
        parent = parent_of(parent)
    return parents


def parent_of(process: "psutil.Process") -> "psutil.Process | None":
    """The parent of a process; None for the first process, or where the system hides it."""
    import psutil

    try:
        return process.parent()
    except psutil.Error:
        return None


def environment_of(process: "psutil.Process") -> dict[str, str]:
    """The environment of a process; {} where it cannot be read."""
    import psutil

    try:
        return process.environ()
    except psutil.Error:
        return {}


def is_orphaned(parents: "list[psutil.Process]") -> bool:
    """True where DVC started this process, but a reaper has adopted it, or a process in between, since."""
    import psutil

    if STAGE_VARIABLE not in os.environ or not parents:
        return False
    try:
        top = parents[-1]
        return (top.pid == 1 or top.name() in REAPERS) and not any("dvc" in word for word in top.cmdline())
    except psutil.Error:
        return True


def watch_parents(parents: "list[psutil.Process]") -> None:
    """Kill this process when one of the parents has ended."""
    never = threading.Event()  # its wait works where time.sleep fails because the clock was set back
    while not any(has_ended(parent) for parent in parents):
        never.wait(WATCH_S)
    os.kill(os.getpid(), signal.SIGKILL)


def has_ended(process: "psutil.Process") -> bool:
    """True where a process has ended, zombies included."""
    import psutil

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def retain_freed_memory() -> None:
    """Make the allocators of this process and its workers keep freed memory. Call it before Arrow is imported, which reads them."""
    for name, value in ALLOCATOR_SETTINGS.items():
        os.environ.setdefault(name, value)
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_TRIM_THRESHOLD, RETAINED_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, RETAINED_BYTES)


def lock_step(work: Path, timeout_s: float = 5) -> "BaseFileLock":
    """A lock on the step, since two trainers would overwrite each other's files. The kernel frees it when its holder ends.

    Raises Problems where another process has it. timeout_s: a trainer needs a moment to end after its dvc was killed.
    """
    from filelock import FileLock, Timeout

    work.mkdir(parents=True, exist_ok=True)
    # the processes of one `accelerate launch` are one trainer: each rank has its own lock
    lock = FileLock(work / f"lock.{os.environ.get('RANK', '0')}")
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        found, hint = "another process trains this step", f"wait for it, or end it: fuser {work}/lock.0"
        raise Problems([Problem(f"steps.{work.name}", found, "one trainer a step", hint)]) from None
    return lock
