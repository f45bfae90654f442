"""Limits of time and memory for a chat template, which is a program that came with a model.

with time_limit(20), memory_limit(2**30):
    text = template.render(...)
"""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError if the block takes longer: a template may loop without end. Works in the main thread only."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"it takes more than {seconds:g} s for one conversation")

    handler = signal.signal(signal.SIGALRM, stop)
    # repeats each second: Jinja swallows what is raised while it computes a constant, then computes it again
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    begun = time.monotonic()
    try:
        yield
    finally:
        # an outer timer continues with the time that it has left
        signal.setitimer(signal.ITIMER_REAL, left and max(left - (time.monotonic() - begun), 1e-3), interval)
        signal.signal(signal.SIGALRM, handler)


@contextlib.contextmanager
def memory_limit(count: int) -> Iterator[None]:
    """Raise MemoryError if the block takes more than `count` bytes beyond what the process has now. Works on Linux only.

    The kernel limits the whole process, so a single large allocation is caught too.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb", buffering=0) as file:  # read before each rendering
        pages = int(file.read(64).split()[0])
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([pages * resource.getpagesize() + count, *limits]), hard))
    try:
        yield
    except MemoryError:
        raise MemoryError(f"it takes more than {count / 2**30:g} GiB of memory for one conversation") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
