r"""Whether an answer is a ground truth by mathematics, which another process is asked: an answer may take for ever or all memory.

    equal(r"\frac{1}{2}", "0.5") -> True

math-verify reads and compares with sympy; its own limits of time are signals, which threads have not, and which a power of
integers does not hear. Here the kernel ends the process that computes: 9^9^9^9 is worth 0, and costs SECONDS of a core.
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
WORKERS: dict[int, subprocess.Popen[str]] = {}  # {process: its worker}: a fork must not talk to its parent's


@lru_cache(maxsize=10_000)
def mathematically_equal(truth: str, answer: str) -> bool:
    """Whether math-verify takes a text for another. Raises ModuleNotFoundError where it is not installed."""
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
        if worker.wait() < 0:  # ended by a signal: the limit of time
            return False
        raise RuntimeError(f"math-verify ended with {worker.returncode}")


def start_worker() -> subprocess.Popen[str]:
    if importlib.util.find_spec("math_verify") is None:
        raise ModuleNotFoundError(f"math_verify needs {REQUIREMENT}")
    return subprocess.Popen(
        [sys.executable, "-m", "validators._mathematics"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=Path(__file__).resolve().parents[1], start_new_session=True,
    )  # fmt: skip


def main() -> None:
    """Answer [truth, answer] of each line with true or false, until there are no more."""
    import resource

    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def compared(truth: str, answer: str) -> bool:
        # a truth says mathematics and nothing else; math-verify looks for LaTeX between its marks alone
        right = parse(truth, parsing_timeout=None) or parse(f"${truth}$", parsing_timeout=None)
        return bool(right) and verify(right, parse(answer, parsing_timeout=None), timeout_seconds=None)

    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)  # nobody handles it: the kernel ends this process
        try:
            found = compared(*json.loads(line))
        except Exception:  # whatever sympy makes of what a model says
            found = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(bool(found)), flush=True)


if __name__ == "__main__":
    main()
