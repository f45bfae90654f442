"""Raw files split into parts, and a pure function mapped over them by processes of this machine or by Ray.

A part of a JSON lines file is a byte range that begins and ends at line ends; any other file is one part. The parts of a
file are the same on every machine, and so are the bytes made from each.
"""

import gc
import os
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar, cast

from stages.core.process import end_with_parent
from stages.core.progress import progress_bar
from stages.reading.containers import detect_container
from validators.problems import Problem, Problems

PART_BYTES = 32 * 2**20
# below this, starting processes takes longer than the work
SINGLE_PROCESS_BYTES = 16 * 2**20
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """Bytes start to end of a file. line: the number of the first line in them, 0 if it is not counted yet."""

    path: Path
    container: str
    start: int
    end: int
    line: int


def parts_of(path: Path, part_bytes: int = PART_BYTES) -> list[Part]:
    """The parts of one raw file, in order."""
    return list(number_parts(split_file(path, part_bytes)))


def split_file(path: Path, part_bytes: int = PART_BYTES) -> list[Part]:
    """The parts of one raw file, in order. Lines are not counted: only the ends of parts are read."""
    container, size = detect_container(path), path.stat().st_size
    if container != "jsonl" or size <= part_bytes:
        return [Part(path, container, 0, size, 1)]
    parts, start = [], 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(min(start + part_bytes, size) - 1)
            file.readline()
            parts.append(Part(path, container, start, file.tell(), 0))
            start = file.tell()
    return parts


def number_parts(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts with their line numbers. Each comes as soon as the lines before it are counted, so work can begin at once."""
    line, buffer = 1, bytearray(2**20)
    before: Part | None = None
    for part in parts:
        line = line + count_newlines(before, buffer) if before and part.start else 1
        before = part
        yield replace(part, line=line)


def count_newlines(part: Part, buffer: bytearray) -> int:
    """How many lines end in a part. One buffer serves all parts, as fresh memory costs more than the count."""
    count, remaining, view = 0, part.end - part.start, memoryview(buffer)
    with open(part.path, "rb", buffering=0) as file:
        file.seek(part.start)
        while remaining > 0 and (size := file.readinto(view[: min(remaining, len(buffer))])):
            count += buffer.count(b"\n", 0, size)
            remaining -= size
    return count


def map_items(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    size_bytes: int,
    engine: str = "local",
    count: int | None = None,
) -> Iterator[Result]:
    """The results of a picklable function for each item, in order.

    size_bytes: of all items together. count: the number of items, needed if they are an iterator.
    """
    count = len(cast(Collection[Item], items)) if count is None else count
    if engine == "ray":
        yield from _map_by_ray(function, items)
    elif count == 1 or size_bytes < SINGLE_PROCESS_BYTES:
        yield from map(function, items)
    else:
        # a forked child would inherit the locks of Arrow's threads
        with ProcessPoolExecutor(
            min(count, os.cpu_count() or 1), get_context("spawn"), initializer=start_worker
        ) as pool:
            yield from pool.map(function, items)


def start_worker() -> None:
    """Prepare a worker: it ends with its stage, and rarely collects garbage, as rows of text have no cycles."""
    end_with_parent()
    gc.set_threshold(200_000, 50, 50)


def _map_by_ray(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results from Ray Data, on the cluster that RAY_ADDRESS names, or else on one of processes on this machine.

    The machines of a cluster must see the project under the same path, as parts are read and written by path.
    """
    try:
        import ray
    except ImportError:
        hint = "pip install --editable '.[ray]', or engine: local"
        raise Problems([Problem("params.yaml: engine", "ray is not installed", "", hint)]) from None

    code = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {"env_vars": {"PYTHONPATH": code}}
    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False, runtime_env=environment)
    settings = ray.data.DataContext.get_current()
    settings.execution_options.preserve_order, settings.enable_progress_bars = True, False
    # one part per block, so that each is a task of its own; pickled, as a block holds only Arrow types
    work = [{"work": pickle.dumps((function, item, os.getcwd()))} for item in items]
    done = ray.data.from_items(work, override_num_blocks=len(work)).map(_run_pickled)
    yield from (pickle.loads(row["done"]) for row in done.iter_rows())


def _run_pickled(row: dict[str, bytes]) -> dict[str, bytes]:
    function, item, folder = pickle.loads(row["work"])
    os.chdir(folder)
    return {"done": pickle.dumps(function(item))}


def with_progress_bar(results: Iterable[Result], total: int, what: str) -> Iterator[Result]:
    """The results as they come, with their progress on stderr."""
    with progress_bar(total, what, "part") as bar:
        for result in results:
            yield result
            bar.update()
