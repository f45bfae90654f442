"""Why a stage runs, in words: which parameter, file or line of code changed, from what to what.

words({"what": "file", "path": "stages/curate.py", ...}) -> ["stages/curate.py: 3 lines since the last build"]

The lock has hashes only. What a file was is looked for in git, by the hash, in the last commits that touched it.
"""

import hashlib
from functools import cache
from pathlib import Path

COMMITS = 30  # how far back git is searched for what was built from
LARGE_BYTES = 64_000_000  # data folders above this are described by their size
FILES, WIDTH = 3, 60  # of what one reason tells, in files and in characters of a value


def words(reason):
    """Lines for one reason of a Decision."""
    from commands.builds.changes import changed_params, describe, value

    what, path = reason["what"], reason.get("path", "")
    if what == "params":
        changes = changed_params(reason["old"], reason["new"])
        # what `methods` holds counts where `steps` take it from there
        used = [change for change in changes if not change["key"].startswith("methods")] or changes
        return [f"{'' if path == 'params.yaml' else path + ': '}{describe(change, WIDTH)}" for change in used]
    if what == "file":
        return file_words(reason)
    return {
        "new": ["it was never built"],
        "command": [f"command: {value(reason.get('old'))} -> {value(reason.get('new'))}"],
        "output": [f"{path} {OUTPUT.get(reason.get('status'), reason.get('status'))}"],
        "cache": ["unless the run cache has it, which the inputs will tell"],
        "unknown": [if_different(reason.get("paths", [""]))],
    }[what]


def if_different(paths):
    """The condition on which a stage runs, for inputs that are not known yet."""
    *first, last = paths
    return f"if {', '.join(first)} or {last} come out different" if first else f"if {last} comes out different"


OUTPUT = {
    "deleted": "is not there",
    "modified": "is not what was built",
    "not in cache": "is not in the cache",
    "new": "is not in the lock",
}


def file_words(reason):
    """How an input differs from that of the last build."""
    path, old = reason["path"], reason["old"]
    if path.startswith(".build/code/") and old is not None:
        return code_words(path, old["md5"])
    if reason["foreseen"]:
        return [f"{path}: {reason['foreseen']}"]
    if not reason["there"]:
        return [f"{path} is not there"]
    if old is None:
        return [f"{path}: a new input"]
    if commit := commit_with(path, old["md5"], old.get("size", 0)):
        return changed_since(commit, path)
    size = size_of(Path(path))
    if old.get("size") not in (None, size):
        return [f"{path}: {old['size']:,} -> {size:,} bytes since the last build"]
    return [f"{path}: changed since the last build"]


def code_words(path, md5):
    """The modules that differ in a list of code."""
    from commands.builds.build import Build
    from commands.builds.code import changes_since

    return changes_since(Build(None, {}, {}, {}), path, md5)


def size_of(path):
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


@cache
def commit_with(path, md5, size):
    """The latest commit in which a file or folder has a hash of DVC's, None where git has none such."""
    from commands.builds.build import git

    if size > LARGE_BYTES:
        return None
    found = git("log", f"--max-count={COMMITS}", "--format=%H", "--", path) or b""
    hashed = folder_hash if md5.endswith(".dir") else file_hash
    return next((commit for commit in found.decode().split() if hashed(commit, path) == md5), None)


def file_hash(commit, path):
    from commands.builds.build import git

    text = git("show", f"{commit}:./{path}")
    return None if text is None else hashlib.md5(text, usedforsecurity=False).hexdigest()


def folder_hash(commit, path):
    """DVC's hash of a folder as git has it at a commit."""
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    from commands.builds.build import git
    from commands.planning.state import hash_of

    tree = Tree()
    entries = (git("ls-tree", "-r", "-z", commit, "--", path) or b"").decode(errors="replace").split("\0")
    for entry in filter(None, entries):
        about, _, file = entry.partition("\t")
        tree.add(tuple(file[len(path) + 1 :].split("/")), Meta(), hash_of(blob_hash(about.split()[2])))
    tree.digest()
    return tree.hash_info.value


@cache
def blob_hash(blob):
    from commands.builds.build import git

    return hashlib.md5(git("cat-file", "blob", blob) or b"", usedforsecurity=False).hexdigest()


def changed_since(commit, path):
    """`file: 3 lines since the last build` for what changed of a path since a commit."""
    from commands.builds.build import git
    from stages.rows.tables import shown

    printed = (git("diff", "--numstat", "-z", "--relative", commit, "--", path) or b"").decode(errors="replace")
    rows = [line.split("\t") for line in printed.split("\0") if line.count("\t") == 2]
    new = (git("ls-files", "--others", "--exclude-standard", "-z", "--", path) or b"").decode(errors="replace")
    lines = [
        f"{shown(file)}: {counted(int(added) + int(removed)) if added != '-' else 'changed'} since the last build"
        for added, removed, file in rows
    ] + [f"{shown(file)}: a new file" for file in new.split("\0") if file]
    if not lines:
        return [f"{path}: changed since the last build"]
    return lines if len(lines) <= FILES else [*lines[:FILES], f"{path}: {len(lines) - FILES:,} more files"]


def counted(lines):
    return "1 line" if lines == 1 else f"{lines:,} lines"
