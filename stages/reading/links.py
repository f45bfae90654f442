"""Links in raw data: none leads out of the project, but into DVC's cache, which may lie anywhere.

With `cache.type symlink`, DVC itself puts such links where data that it keeps were.
"""

import os
from functools import cache
from pathlib import Path

from validators.problems import Problem


def links_out(raw):
    """A Problem for each link at, above or in a raw path that leaves the project: it may bring in anybody's files, secrets too.

    Hidden files are not data, but `dvc add` keeps them and `tilth share` sends them.
    """
    path = Path(raw)
    if problems := leaving(path):
        return problems
    return [problem for found in sorted(path.rglob("*")) if found.is_symlink() for problem in leaving(found)]


def leaving(path):
    target = Path(os.path.realpath(path))  # `resolve` raises where links go in a circle
    if any(target.is_relative_to(folder().resolve()) for folder in (Path.cwd, cache_folder)):
        return []
    found = f"a link that leaves the project, to {target}"
    return [Problem(str(path), found, "a file inside it", "replace the link by the file")]


@cache
def cache_folder():
    """Where DVC keeps objects: `.dvc/cache/files/md5`, or what the configuration says."""
    folder = ".dvc/cache"
    # DVC takes a third of a second to read its configuration, which says nothing of the cache in most projects
    if any("cache" in file.read_text(encoding="utf-8", errors="replace") for file in configurations()):
        from dvc.config import Config

        folder = Config(".dvc", validate=False).get("cache", {}).get("dir") or folder
    return Path(folder, "files/md5")


def configurations():
    """The files of DVC's configuration that are there: this project's, the user's and the machine's."""
    from platformdirs import site_config_dir, user_config_dir

    folders = (
        os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user_config_dir("dvc", "iterative"),
        os.environ.get("DVC_SYSTEM_CONFIG_DIR") or site_config_dir("dvc", "iterative"),
    )
    files = [Path(".dvc/config"), Path(".dvc/config.local"), *(Path(folder, "config") for folder in folders)]
    return [file for file in files if file.is_file()]
