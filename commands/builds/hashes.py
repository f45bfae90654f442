"""The files below a folder, and DVC's hashes of many files (`stages/core/hashes.py`).

hash_files(["data/train.json"])                  # {"data/train.json": "5f0e..."}, several files at a time
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.core.hashes import md5


def hash_files(paths: Iterable[str]) -> dict[str, str | None]:
    """{path: md5} of files. The largest come first, so that no thread ends with a large file alone."""
    paths = sorted(set(paths), key=size, reverse=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashlib lets other threads run
        return dict(zip(paths, pool.map(md5, paths), strict=True))


def size(path: str | Path) -> int:
    """Bytes of a file, 0 where it cannot be read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def files_in(folder: str) -> list[str]:
    """The paths of all files below a folder, sorted, hidden and ignored ones too; of a file, its own path."""
    if os.path.isfile(folder):
        return [folder]
    return sorted(
        Path(parent, name).as_posix()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not os.path.isdir(os.path.join(parent, name))
    )
