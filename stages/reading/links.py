"""Links in raw data: none may leave the project, except into DVC's cache, which may be anywhere.

With `cache.type symlink`, DVC itself replaces the data that it keeps by such links.
"""

import os
from pathlib import Path

from stages.core.dvc_cache import cache_folder
from validators.problems import Problem


def outside_link_problems(raw: str | Path) -> list[Problem]:
    """A Problem for each link at, above or in a raw path that leaves the project: it could bring in any file, secrets too.

    Hidden files count too: they are not data, but `dvc add` keeps them and `tilth share` sends them.
    """
    path = Path(raw)
    if problems := link_problems(path):
        return problems
    return [problem for child in sorted(path.rglob("*")) if child.is_symlink() for problem in link_problems(child)]


def link_problems(path: Path) -> list[Problem]:
    target = Path(os.path.realpath(path))  # `resolve` raises if links form a circle
    if any(target.is_relative_to(folder().resolve()) for folder in (Path.cwd, cache_folder)):
        return []
    what = f"a link that leaves the project, to {target}"
    return [Problem(str(path), what, "a file inside it", "replace the link by the file")]
