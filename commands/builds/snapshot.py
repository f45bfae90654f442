"""A past build in a folder of its own, so that it is verified exactly as the working tree is.

    with exported(build) as absent: ...       # the working folder is that build; nothing of the user's is touched

What git tracks is written there from the commit; outputs and data that DVC tracks are links to objects of the cache.
"""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from posixpath import normpath

from commands.builds.build import cache_folder, git, listed, object_of, one_line
from commands.builds.sources import imported
from validators.problems import Problem, Problems


@contextlib.contextmanager
def exported(build):
    """Be in a folder that holds the build of a commit; gives the paths whose bytes the cache does not have."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="tilth_") as folder:
        inside = (git("rev-parse", "--show-prefix") or b"").decode().strip()
        write_tree(build.rev, Path(folder))
        root = Path(folder, "tree", inside)
        entries = list(build.outs.values()) + tracked_by_dvc(root)
        absent = [path for entry in entries for path in linked(entry, root)]
        if not (root / ".dvc/cache").exists():
            (root / ".dvc").mkdir(exist_ok=True)
            (root / ".dvc/cache").symlink_to(cache_folder().resolve().parents[1])
        os.chdir(root)
        try:
            yield absent
        finally:
            os.chdir(here)


def write_tree(commit, folder):
    """The files of a commit under folder/tree, through an index of their own."""
    environment = os.environ | {"GIT_INDEX_FILE": str(folder / "index")}
    for command in (["read-tree", commit], ["checkout-index", "--all", f"--prefix={folder}/tree/"]):
        done = subprocess.run(["git", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            hint = "git fetch; a partial clone may lack the files of past commits"
            raise Problems(
                [Problem("git", f"cannot write the files of {commit[:10]}: {one_line(done.stderr)}", "", hint)]
            )


def tracked_by_dvc(root):
    """What the .dvc files of a folder track, as entries with paths from the root."""
    return [
        entry | {"path": normpath((path.parent / entry["path"]).relative_to(root).as_posix())}
        for path in sorted(root.rglob("*.dvc"))
        if path.is_file()
        for entry in outs_of(path)
    ]


def outs_of(path):
    """The outputs of a .dvc file with an md5, and where each was `imported` from. Raises Problems where it does not parse."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = imported(found)
        return [entry | {"imported": source} for entry in found.get("outs") or [] if {"md5", "path"} <= entry.keys()]
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise Problems([Problem(str(path), f"does not parse: {one_line(error)}", "what dvc add wrote", "")]) from None


def linked(entry, root):
    """Make an output's files links to the cache; the paths that the cache has no bytes of."""
    target, md5 = root / entry["path"], entry["md5"]
    if target.exists():  # tracked by git
        return []
    files = {target: md5}
    if md5.endswith(".dir"):
        listing = listed(md5)
        if listing is None:
            return [entry["path"]]
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
