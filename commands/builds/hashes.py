"""Hashes as DVC makes them, from the bytes themselves: never from a cache's list, a size or a time.

md5s(["data/train.json"])                        # {"data/train.json": "5f0e..."}, several files at a time
folder_md5({"config.json": "11aa..."})           # "9c1d....dir": md5 of the sorted list of a folder's files
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def md5(path: str | Path) -> str | None:
    """The md5 of a file's bytes, None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return None


def sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5s(paths: Iterable[str]) -> dict[str, str | None]:
    """{path: md5} of files, the largest first, so that no thread ends with one large file alone."""
    paths = sorted(set(paths), key=size, reverse=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashlib lets other threads run
        return dict(zip(paths, pool.map(md5, paths), strict=True))


def size(path: str | Path) -> int:
    """Bytes of a file, 0 where it cannot be read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def folder_md5(listing: Mapping[str, str | None]) -> str:
    """The hash of a folder with the files {relative path: md5}."""
    items = [{"md5": md5, "relpath": relative} for relative, md5 in sorted(listing.items())]
    return hashlib.md5(json.dumps(items, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def files_in(folder: str) -> list[str]:
    """Every file below a folder in order, with the folder's path before it, hidden and ignored ones too; or the file."""
    if os.path.isfile(folder):
        return [folder]
    return sorted(
        Path(parent, name).as_posix()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not os.path.isdir(os.path.join(parent, name))
    )
