"""Raw files cut into parts, and a pure function mapped over them by processes of this machine or by Ray.

A part of a JSON lines file is a byte range that begins and ends at line ends; any other file is one part. The parts of a
file are the same on every machine, and so are the bytes of what is made of each.
"""

import gc
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from stages._containers import container
from stages._process import end_with_parent
from validators._problems import Problem, Problems

PART_BYTES = 32 * 2**20
# memory that a batch gives back is what the next one takes: to fetch it anew from the system costs a tenth of the time
KEEP_MEMORY = {
    "MIMALLOC_PURGE_DELAY": "-1",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
# below this, starting processes takes longer than the work
ALONE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Part:
    """Bytes start to end of a file; `line` is the number of the first line in them."""

    path: Path
    container: str
    start: int
    end: int
    line: int


def parts_of(path, part_bytes=PART_BYTES):
    """The parts of one raw file, in order."""
    kind, size = container(path), path.stat().st_size
    if kind != "jsonl" or size <= part_bytes:
        return [Part(path, kind, 0, size, 1)]
    parts, start, line, buffer = [], 0, 1, bytearray(2**20)
    with open(path, "rb") as file:
        while start < size:
            file.seek(min(start + part_bytes, size) - 1)
            file.readline()
            end = file.tell()
            parts.append(Part(path, kind, start, end, line))
            line += newlines(file, start, end, buffer)
            start = end
    return parts


def newlines(file, start, end, buffer):
    """How many lines end between two places of a file; one buffer for all, as fresh memory costs more than the count."""
    file.seek(start)
    count, left, view = 0, end - start, memoryview(buffer)
    while left > 0:
        got = file.readinto(view[: min(left, len(buffer))])
        count += buffer.count(b"\n", 0, got)
        left -= got
    return count


def mapped(function, items, size_bytes, engine="local"):
    """The results of a picklable function for each item, in order. size_bytes: of all items together."""
    if engine == "ray":
        yield from _by_ray(function, items)
    elif len(items) == 1 or size_bytes < ALONE_BYTES:
        yield from map(function, items)
    else:
        workers = min(len(items), os.cpu_count() or 1)
        for name, value in KEEP_MEMORY.items():
            os.environ.setdefault(name, value)  # allocators read it when a process starts
        # a forked child would inherit the locks of Arrow's threads
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=begin) as pool:
            yield from pool.map(function, items)


def begin():
    """What a worker does first: end with its stage, and look for cycles seldom, as rows of text have none."""
    end_with_parent()
    gc.set_threshold(200_000, 50, 50)


def _by_ray(function, items):
    """The same by Ray Data on a cluster: the one that RAY_ADDRESS names, or one of processes on this machine.

    The machines of a cluster must see the project under the same path, as parts are read and written by path.
    """
    try:
        import ray
    except ImportError:
        hint = "pip install --editable '.[ray]', or engine: local"
        raise Problems([Problem("params.yaml: engine", "ray is not installed", "", hint)]) from None

    code = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {"env_vars": {"PYTHONPATH": code}}
    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False, runtime_env=environment)
    settings = ray.data.DataContext.get_current()
    settings.execution_options.preserve_order, settings.enable_progress_bars = True, False
    # a part a block, so that each is a task of its own; pickled, as a block holds only what Arrow can hold
    work = [{"work": pickle.dumps((function, item, os.getcwd()))} for item in items]
    done = ray.data.from_items(work, override_num_blocks=len(work)).map(_done)
    yield from (pickle.loads(row["done"]) for row in done.iter_rows())


def _done(row):
    function, item, folder = pickle.loads(row["work"])
    os.chdir(folder)
    return {"done": pickle.dumps(function(item))}


def with_bar(results, total, what):
    """The results as they come, with a progress bar on stderr where that is a terminal."""
    from tqdm import tqdm

    return tqdm(results, total=total, desc=what, unit=" parts", disable=None, leave=False)
