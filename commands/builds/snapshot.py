"""A past build in a temporary folder, to be verified in the same way as the working tree.

    with enter_past_build(build) as absent: ...       # the working folder is that build; the user's files stay untouched

Files of git are written from the commit. Outputs, and data that DVC tracks, are links to objects of the cache.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from commands.builds.build import Build, folder_listing, object_of
from commands.builds.dvc_files import read_dvc_files
from commands.builds.git import git, one_line
from commands.builds.lock import File
from stages.core.dvc_cache import cache_folder
from validators.problems import Problem, Problems


@contextlib.contextmanager
def enter_past_build(build: Build) -> Iterator[list[str]]:
    """Work in a folder that holds the build of a commit. Yields the paths whose bytes the cache does not have."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="tilth_") as folder:
        inside = (git("rev-parse", "--show-prefix") or b"").decode().strip()
        write_tree(build.rev or "HEAD", Path(folder))
        root = Path(folder, "tree", inside)
        tracked = [one.file for one in read_dvc_files(root.rglob("*.dvc"), root).values()]
        absent = [path for file in (*build.outs.values(), *tracked) for path in link_output(file, root)]
        if not (root / ".dvc/cache").exists():
            (root / ".dvc").mkdir(exist_ok=True)
            (root / ".dvc/cache").symlink_to(cache_folder().resolve().parents[1])
        os.chdir(root)
        try:
            yield absent
        finally:
            os.chdir(here)


def write_tree(commit: str, folder: Path) -> None:
    """Write the files of a commit under folder/tree, with a separate git index."""
    environment = os.environ | {"GIT_INDEX_FILE": str(folder / "index")}
    for command in (["read-tree", commit], ["checkout-index", "--all", f"--prefix={folder}/tree/"]):
        done = subprocess.run(["git", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            hint = "git fetch; a partial clone may lack the files of past commits"
            raise Problems(
                [Problem("git", f"cannot write the files of {commit[:10]}: {one_line(done.stderr)}", "", hint)]
            )


def link_output(out: File, root: Path) -> list[str]:
    """Link an output's files to the cache. Returns the paths whose bytes the cache does not have."""
    target, md5 = root / out.path, out.md5 or ""
    if target.exists():  # tracked by git
        return []
    files = {target: md5}
    if md5.endswith(".dir"):
        listing = folder_listing(md5)
        if listing is None:
            return [out.path]
        target.mkdir(parents=True, exist_ok=True)
        files = {target / relative: md5 for relative, md5 in listing.items()}
    absent = []
    for path, md5 in files.items():
        found = object_of(md5).resolve()
        if not found.is_file():
            absent.append(path.relative_to(root).as_posix())
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(found)
    return absent
