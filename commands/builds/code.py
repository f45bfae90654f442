"""The lists of code of a build, by which a changed module is named. `stages/code.py` writes them, git keeps them.

written_lists(read_build("v1"))["curate"]      # the text of the list: a line for each module, with its sha256
describe_changes(before, after)                # ["stages/reading/csv.py changed"]
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from commands.builds.git import git, text_of
from stages.core.hashes import folder_md5
from validators.problems import Problems

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.builds.evidence import Evidence, Verdict

CODE_FOLDER = ".build/code"


def current_lists() -> dict[str, str]:
    """{name: text} of the lists for the code of the working folder; empty where a module does not parse."""
    from stages.code import ROOMS

    files = (path for room in ROOMS for path in Path(room).rglob("*") if path.suffix != ".pyc")
    return lists_of_folder(Path.cwd(), tuple(sorted((str(path), path.stat().st_mtime_ns) for path in files)))


@cache
def lists_of_folder(folder: Path, stamps: tuple[tuple[str, int], ...]) -> dict[str, str]:
    from stages.code import list_code

    try:
        return list_code(folder)
    except Problems:
        return {}


def written_lists(build: "Build") -> dict[str, str]:
    """{name: text} of the lists of a build, from the working tree or its commit."""
    if build.rev is None:
        paths = [path.as_posix() for path in sorted(Path(CODE_FOLDER).rglob("*")) if path.is_file()]
        return {path.removeprefix(f"{CODE_FOLDER}/"): text_of(None, path) for path in paths}
    return committed_lists(build.rev)


@cache
def committed_lists(rev: str) -> dict[str, str]:
    """{name: text} of the lists of a commit. Cached: each stage of a build needs them."""
    names = git("ls-tree", "-r", "-z", "--name-only", rev, "--", CODE_FOLDER) or b""
    paths = [path for path in names.decode(errors="surrogateescape").split("\0") if path]
    return {path.removeprefix(f"{CODE_FOLDER}/"): text_of(rev, path) for path in paths}


def module_hashes(texts: Iterable[str]) -> dict[str, str]:
    """{path: sha256} of all modules in some lists."""
    from stages.code import parse_list

    return {path: found for text in texts for path, found in parse_list(text).items()}


def describe_changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What differs between two lists, in words. before, after: {path: sha256}."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            lines.append(f"{path} is new")
        elif path not in after:
            lines.append(f"{path} is no longer needed")
        elif before[path] != after[path]:
            lines.append(f"{path} changed")
    return lines


def lists_below(texts: dict[str, str], path: str) -> dict[str, str]:
    """{name: text} of the list at a path of CODE_FOLDER, or of the lists in that folder."""
    name = path.removeprefix(f"{CODE_FOLDER}/")
    return {each: text for each, text in texts.items() if each == name or each.startswith(f"{name}/")}


def lists_md5(texts: dict[str, str], path: str) -> str | None:
    """DVC's hash of a path of CODE_FOLDER; None where nothing is there."""
    inside = lists_below(texts, path)
    hashes = {name: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for name, text in inside.items()}
    name = path.removeprefix(f"{CODE_FOLDER}/")
    if not hashes or name in hashes:
        return hashes.get(name)
    return folder_md5({each[len(name) + 1 :]: md5 for each, md5 in hashes.items()})


def changes_since(build: "Build", path: str, locked: str | None) -> list[str]:
    """What changed in the code behind a path of CODE_FOLDER, in words, since its list had the hash `locked`."""
    now = current_lists() if build.rev is None else written_lists(build)
    for before in candidate_lists(build):
        if lists_md5(before, path) == locked:
            found = describe_changes(
                module_hashes(lists_below(before, path).values()), module_hashes(lists_below(now, path).values())
            )
            return [*found[:3], *([f"{len(found) - 3} more modules changed"] if len(found) > 3 else [])]
    return [f"{path} changed"]


def candidate_lists(build: "Build") -> Iterator[dict[str, str]]:
    """Yields the lists that the last build may have used: the present ones, then those of the last commits that changed them."""
    from commands.builds.build import Build

    yield written_lists(build)
    commits = (
        (git("log", "--max-count=30", "--format=%H", build.rev or "HEAD", "--", CODE_FOLDER) or b"").decode().split()
    )
    for commit in commits:
        yield written_lists(Build(commit, {}))


# -- the check of `tilth verify` ---------------------------------------------------------------------------------------


def code(evidence: "Evidence") -> "Verdict":
    """Each list is that of the present code: none was edited by hand, none is missing."""
    from stages.code import list_code
    from validators.problems import Problem

    if CODE_FOLDER not in evidence.build.outs:
        return {"lists": 0}, []  # a commit from before the lists existed
    written, expected = written_lists(evidence.build), list_code()
    hint = "python -m stages code writes them anew"
    problems = []
    for name in sorted(written.keys() | expected.keys()):
        if written.get(name) != expected.get(name):
            found = (
                "is missing"
                if name not in written
                else "is no longer needed"
                if name not in expected
                else "does not match the code here"
            )
            if name in written and name in expected:
                changes = describe_changes(module_hashes([written[name]]), module_hashes([expected[name]]))
                found += f": {', '.join(changes[:3])}" if changes else ": it was edited"
            problems.append(Problem(f"{CODE_FOLDER}/{name}", found, "what stages/code.py makes of the code", hint))
    return {"lists": len(expected)}, problems
