"""Raw files that `.dvcignore` hides from DVC: no hash holds them, so that no edit of them would ever build anything anew."""

import os
from collections.abc import Sequence
from pathlib import Path

FILE = ".dvcignore"


def ignored_files(paths: Sequence[Path]) -> list[Path]:
    """Those of some files, relative to the root, that DVC does not see.

    DVC itself decides, where a pattern may fit: it takes a third of a second to import, and few projects need it.
    """
    from pathspec import GitIgnoreSpec

    folders = sorted({folder for path in paths for folder in Path(path).parents})
    rules = {folder: (folder / FILE).read_text(encoding="utf-8") for folder in folders if (folder / FILE).is_file()}
    specs = {folder: GitIgnoreSpec.from_lines(text.splitlines()) for folder, text in rules.items()}
    perhaps = [
        path
        for path in paths
        if any(
            Path(path).is_relative_to(folder) and spec.match_file(Path(path).relative_to(folder))
            for folder, spec in specs.items()
        )
    ]
    if not perhaps:
        return []
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter

    rules = DvcIgnoreFilter(LocalFileSystem(), os.getcwd())
    return [path for path in perhaps if rules.is_ignored_file(os.path.abspath(path))]
