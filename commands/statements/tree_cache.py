"""A cache of the tree of a statement, for the next proof: ids in sorted order, then the hash of each 1,024 of them.

cached_tree("9a1c...", 1_000_000)      # a Tree that reads its ids from .work/.trained/<root>, or None
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from commands.statements.merkle import FOLD, Tree

FOLDER = Path(".work/.trained")
BYTES = 32  # of an id


class IdFile(Sequence[bytes]):
    """The first `count` ids of a file; all ids where count is None."""

    def __init__(self, path: Path, count: int | None = None) -> None:
        self.size = path.stat().st_size // BYTES if count is None else count
        with open(path, "rb") as file:
            self.bytes: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(self.size))]
        if not 0 <= at < self.size:
            raise IndexError(at)
        return self.bytes[at * BYTES : (at + 1) * BYTES]


def cached_tree(name: str, count: int) -> Tree | None:
    """The cached tree with a root; None where it is missing or incomplete. name: the root as hex digits."""
    path, folds = FOLDER / name, -(-count // FOLD)
    if not path.is_file() or path.stat().st_size != (count + folds) * BYTES:
        return None
    with open(path, "rb") as file:
        file.seek(count * BYTES)
        hashes = file.read()
    return Tree(IdFile(path, count), [hashes[at : at + BYTES] for at in range(0, len(hashes), BYTES)])
