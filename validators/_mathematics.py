r"""Whether an answer equals a ground truth as mathematics. A worker process compares: an answer may need endless time or memory.

    mathematically_equal(r"\frac{1}{2}", "0.5") -> True

math-verify parses and compares with sympy. Its own time limits are signals: they work in the main thread only, and a power of
integers does not stop for them. Here the kernel kills the worker: 9^9^9^9 is worth 0, and costs CPU_LIMIT_S of a core.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

CPU_LIMIT_S = 3  # of processor time, for one answer
MEMORY_LIMIT_BYTES = 4 * 2**30
REQUIREMENT = "the package math-verify: pip install 'tilth[math]', or pip install --editable '.[math]' in the project"
LOCK = threading.Lock()
WORKERS: dict[int, subprocess.Popen[str]] = {}  # {process id: its worker}: a fork must not use its parent's worker


@lru_cache(maxsize=10_000)
def mathematically_equal(truth: str, answer: str) -> bool:
    """True where math-verify calls the answer equal to the truth. Raises ModuleNotFoundError where it is not installed."""
    with LOCK:
        worker = WORKERS.get(os.getpid())
        if worker is None or worker.poll() is not None:
            worker = WORKERS[os.getpid()] = start_worker()
        assert worker.stdin and worker.stdout  # pipes, as `start_worker` asks for
        try:
            worker.stdin.write(json.dumps([truth, answer]) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        if worker.wait() < 0:  # killed by a signal: the time limit
            return False
        raise RuntimeError(f"math-verify ended with {worker.returncode}")


def start_worker() -> subprocess.Popen[str]:
    """A process that runs `main` of this module. Raises ModuleNotFoundError where math-verify is not installed."""
    if importlib.util.find_spec("math_verify") is None:
        raise ModuleNotFoundError(f"math_verify needs {REQUIREMENT}")
    return subprocess.Popen(
        [sys.executable, "-m", "validators._mathematics"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=Path(__file__).resolve().parents[1], start_new_session=True,
    )  # fmt: skip


def main() -> None:
    """Read [truth, answer] from each line of stdin and print true or false, until stdin ends."""
    import resource

    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def is_equal(truth: str, answer: str) -> bool:
        # a truth is all mathematics, but math-verify finds LaTeX between $ only
        right = parse(truth, parsing_timeout=None) or parse(f"${truth}$", parsing_timeout=None)
        return bool(right) and verify(right, parse(answer, parsing_timeout=None), timeout_seconds=None)

    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)  # no handler: the kernel kills this process
        try:
            equal = is_equal(*json.loads(line))
        except Exception:  # sympy may raise anything on a model's text
            equal = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(bool(equal)), flush=True)


if __name__ == "__main__":
    main()
