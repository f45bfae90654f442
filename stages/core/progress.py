"""Progress of long work: a bar with rate and time left on a terminal, one line a minute in a log.

      train sft: 120 of 1368 steps, 2.10step/s, 09:54 left, loss 0.52

tqdm writes both to stderr. A log has no line for work that takes less than a minute.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

LOG_INTERVAL_S = 60.0
Item = TypeVar("Item")
LINE_FORMAT = "  {desc}: {n_fmt} of {total_fmt} UNITS, {rate_fmt}, {remaining} left{postfix}"


class LineStream:
    """A stream that writes each drawing of a bar as its own line, and skips what only clears a bar."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if text := text.strip("\r\n").rstrip():
            self.stream.write(text + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress_bar(total: int | None, what: str, unit: str, done: int = 0, every_s: float = LOG_INTERVAL_S) -> "tqdm":
    """A tqdm bar that begins at `done`. Of several processes only the first shows it. every_s: between two lines of a log."""
    from tqdm import tqdm

    scale = unit == "token"  # 1.2M in place of 1200000
    options = {"total": total, "desc": what, "unit": unit, "initial": done, "leave": False, "unit_scale": scale}
    if os.environ.get("RANK", "0") != "0":
        return tqdm(**options, disable=True)
    if sys.stderr.isatty():
        return tqdm(**options, dynamic_ncols=True)
    line = LINE_FORMAT.replace("UNITS", f"{unit}es" if unit.endswith("ch") else f"{unit}s")
    # miniters=1: each update looks at the clock. delay: no line before there is a rate
    return tqdm(**options, file=LineStream(sys.stderr), bar_format=line, mininterval=every_s, delay=every_s, miniters=1)


def with_progress(items: Sequence[Item], what: str, unit: str, sizes: Sequence[int] | None = None) -> Iterator[Item]:
    """The items one by one; shows the progress where there are two or more and `what` is not empty.

    sizes: how many units each item has, where the time it takes depends on that; else an item is a unit.
    """
    if len(items) < 2 or not what:
        yield from items
        return
    sizes = [1] * len(items) if sizes is None else sizes
    with progress_bar(sum(sizes), what, unit) as bar:
        for item, size in zip(items, sizes, strict=True):
            yield item
            bar.update(size)


def format_duration(seconds: float) -> str:
    """A time as text: 40 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
