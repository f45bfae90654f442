"""Hashes of files from their bytes, and of folders in DVC's way. Never taken from a cached list, a size or a time.

md5("data/train.json")                       # "5f0e...", None where it cannot be read
folder_md5({"config.json": "11aa..."})       # "9c1d....dir": md5 of the sorted list of a folder's files
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def md5(path: str | Path) -> str | None:
    """The md5 of a file's bytes, as in DVC's files; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return None


def sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_md5(listing: Mapping[str, str | None]) -> str:
    """The hash of a folder with the files {relative path: md5}."""
    items = [{"md5": md5, "relpath": relative} for relative, md5 in sorted(listing.items())]
    return hashlib.md5(json.dumps(items, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
