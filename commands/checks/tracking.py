"""Files that git or DVC should keep: raw data, and everything that defines a build. Compares bytes, not times.

Each check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from posixpath import normpath

from commands.builds.build import Build
from commands.builds.dvc_files import Tracked, read_dvc_files
from commands.builds.evidence import Evidence, Verdict
from commands.builds.git import git
from commands.builds.hashes import files_in, hash_files
from commands.checks.lock import output_problems
from stages.reading.links import outside_link_problems
from validators.problems import Problem

# an untracked file here changes what is built, or is a record of it
BUILD_PATHS = (
    "params.yaml",
    "dvc.yaml",
    "dvc.lock",
    ".build",
    ".dvcignore",
    ".dvc",
    "stages",
    "validators",
    "commands",
    "data",
)
Blob = tuple[str, str]  # (mode, hash) as git has a file
NO_GIT = Problem(
    "git", "no commit here to compare files with", "a repository with history", "git init, git add, git commit"
)


def raw(evidence: Evidence) -> Verdict:
    """Raw files are as committed, or as their .dvc files say. None is unknown to both, no link leaves the project."""
    places = raw_places(evidence.build)
    files = [file for place in places for file in files_in(place)]
    tracked = {path: one for path, one in tracked_by_dvc(places).items() if overlaps(path, places)}
    problems = [link for place in places for link in outside_link_problems(place)]
    by_dvc = {path: files_in(path) for path in tracked}
    hashes = evidence.md5s | hash_files(
        [file for found in by_dvc.values() for file in found if file not in evidence.md5s]
    )
    for path, found in by_dvc.items():
        if not evidence.absent_in(path):
            one = tracked[path]
            take = f"dvc update {one.dvc}" if one.imported else f"dvc add {path}"
            hint = f"dvc checkout --force {one.dvc}; or, if the change is meant, {take}"
            problems += output_problems(one.file, found, hashes, hint)
    counts = {"files": len(files), "by_dvc": sum(map(len, by_dvc.values()))}
    if evidence.rev:
        return counts, problems  # files of git were just written from the commit
    known = {file for found in by_dvc.values() for file in found}
    return counts, problems + uncommitted_problems([file for file in files if file not in known], places)


def raw_places(build: Build) -> list[str]:
    """The folders and files of raw data, each once."""
    places = ["data/raw", "data/benchmarks", *(normpath(dataset["raw"]) for dataset in build.datasets.values())]
    return [
        place
        for place in dict.fromkeys(places)
        if not any(is_within(place, other) and place != other for other in places)
    ]


def is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def is_inside_any(path: str, places: Iterable[str]) -> bool:
    return any(is_within(path, place) for place in places)


def overlaps(path: str, places: Iterable[str]) -> bool:
    return any(is_within(path, place) or is_within(place, path) for place in places)


def tracked_by_dvc(places: list[str]) -> dict[str, Tracked]:
    """{path: Tracked} of the .dvc files in, beside and above places of raw data."""
    above = {Path(f"{part}.dvc") for place in places for part in (Path(place), *Path(place).parents)}
    return read_dvc_files(above.union(*(Path(place).rglob("*.dvc") for place in ("data", *places))))


def uncommitted_problems(files: list[str], places: list[str]) -> list[Problem]:
    """Raw files that differ from HEAD, or that neither git nor DVC has."""
    head = blobs_at_head()
    if head is None:
        return [NO_GIT]
    here = {path: blob for path, blob in head.items() if is_inside_any(path, places)}
    changed = [path for path, blob in blobs_on_disk(here).items() if blob != here[path]]
    hint = "git checkout -- {0}; or commit it, then dvc repro"
    return [
        Problem(
            path,
            "differs from what is committed" if Path(path).exists() else "is missing",
            "as in HEAD",
            hint.format(path),
        )
        for path in changed
    ] + [
        Problem(
            path,
            "neither git nor DVC keeps it",
            "raw data that one of them keeps",
            f"git add {path}, or dvc add {path}",
        )
        for path in files
        if path not in head and Path(path).suffix != ".dvc" and Path(path).name[0] != "."
    ]


def tree(evidence: Evidence) -> Verdict:
    """Every tracked file is as committed, and no untracked one can change what is built."""
    head = blobs_at_head()
    if head is None:
        return {}, [NO_GIT]
    raw_data = raw_places(evidence.build)
    rest = {path: blob for path, blob in head.items() if not is_inside_any(path, raw_data)}
    found = blobs_on_disk(rest)
    problems = [
        Problem(
            path, "is not committed as it is" if blob else "is missing", "as in HEAD", "git commit, or --allow-dirty"
        )
        for path, blob in found.items()
        if blob != rest[path]
    ]
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *BUILD_PATHS) or b""
    for path in sorted({name.decode(errors="surrogateescape") for name in listed.split(b"\0") if name} - head.keys()):
        # the check `raw` names an untracked raw file, if it is data
        if not is_inside_any(path, raw_data) or path.endswith((".dvc", ".gitignore")):
            problems.append(
                Problem(path, "is not in git", "committed", f"git add {path}, git commit; or --allow-dirty")
            )
    return {"files": len(head), "commit": (git("rev-parse", "--short=12", "HEAD") or b"").decode().strip()}, problems


def blobs_at_head() -> dict[str, Blob] | None:
    """{path: (mode, blob)} of every file of HEAD in this folder, None where there is no commit."""
    listed = git("ls-tree", "-r", "-z", "HEAD")
    if listed is None:
        return None
    found = {}
    for line in listed.decode(errors="surrogateescape").split("\0"):
        if line:
            (mode, kind, blob), path = line.partition("\t")[0].split(), line.partition("\t")[2]
            if kind == "blob":
                found[path] = (mode, blob)
    return found


def blobs_on_disk(head: Mapping[str, Blob]) -> dict[str, Blob | None]:
    """{path: (mode, blob)} of the same files on disk, None where one is missing."""
    links = [path for path, (mode, _) in head.items() if mode == "120000"]
    plain = [path for path in head if os.path.isfile(path) and path not in links]
    above = (git("rev-parse", "--show-prefix") or b"").decode().strip()  # git reads these names from its own root
    paths = "\n".join(quote_for_git(above + path) for path in plain).encode(errors="surrogateescape")
    done = subprocess.run(["git", "hash-object", "--stdin-paths"], input=paths, capture_output=True, check=False)
    found = dict(zip(plain, done.stdout.decode().split(), strict=False))
    found |= {path: link_blob(path) for path in links if os.path.islink(path)}
    return {path: (mode, found[path]) if path in found else None for path, (mode, _) in head.items()}


def quote_for_git(path: str) -> str:
    """A path as git reads it from a line, even with quotes and line ends in it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def link_blob(path: str) -> str:
    done = subprocess.run(
        ["git", "hash-object", "--stdin"], input=os.fsencode(os.readlink(path)), capture_output=True, check=True
    )
    return done.stdout.decode().strip()
