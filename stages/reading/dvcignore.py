"""Raw files that `.dvcignore` hides from DVC. No hash covers them, so an edit of them would never rebuild anything."""

import os
from collections.abc import Sequence
from pathlib import Path

FILE = ".dvcignore"


def ignored_files(paths: Sequence[Path]) -> list[Path]:
    """The files that DVC ignores, of paths relative to the root.

    DVC itself decides, but only if a pattern may match: its import takes a third of a second, and few projects need it.
    """
    from pathspec import GitIgnoreSpec

    folders = sorted({folder for path in paths for folder in Path(path).parents})
    rules = {folder: (folder / FILE).read_text(encoding="utf-8") for folder in folders if (folder / FILE).is_file()}
    specs = {folder: GitIgnoreSpec.from_lines(text.splitlines()) for folder, text in rules.items()}
    candidates = [
        path
        for path in paths
        if any(
            Path(path).is_relative_to(folder) and spec.match_file(Path(path).relative_to(folder))
            for folder, spec in specs.items()
        )
    ]
    if not candidates:
        return []
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter

    rules = DvcIgnoreFilter(LocalFileSystem(), os.getcwd())
    return [path for path in candidates if rules.is_ignored_file(os.path.abspath(path))]
