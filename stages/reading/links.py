"""Links in raw data: none leads out of the project, but into DVC's cache, which may lie anywhere.

With `cache.type symlink`, DVC itself puts such links where data that it keeps were.
"""

import os
from pathlib import Path

from stages.core.dvc_cache import cache_folder
from validators.problems import Problem


def outside_link_problems(raw: str | Path) -> list[Problem]:
    """A Problem for each link at, above or in a raw path that leaves the project: it may bring in anybody's files, secrets too.

    Hidden files are not data, but `dvc add` keeps them and `tilth share` sends them.
    """
    path = Path(raw)
    if problems := link_problems(path):
        return problems
    return [problem for found in sorted(path.rglob("*")) if found.is_symlink() for problem in link_problems(found)]


def link_problems(path: Path) -> list[Problem]:
    target = Path(os.path.realpath(path))  # `resolve` raises where links go in a circle
    if any(target.is_relative_to(folder().resolve()) for folder in (Path.cwd, cache_folder)):
        return []
    found = f"a link that leaves the project, to {target}"
    return [Problem(str(path), found, "a file inside it", "replace the link by the file")]
