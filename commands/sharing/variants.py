"""The parts of a project in DVC's cache: the outputs of the workspace, and those of every variant that was ever built.

The inputs of a variant belong to it, if DVC tracks them: an earlier version of raw data is a dependency of its runs.

    workspace_bundles(repo)[0]         # [Bundle("train@align", (("models/align", HashInfo, 123),), record=None), ...]
    read_record(key, value, text)      # the same for a record of the run cache, or what is wrong with it

A record of the run cache, `runs/<2>/<key>/<value>`, says which input a stage turned into which output; both names are hashes of
its content. DVC restores a variant from it if every object that it names is in the cache.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from commands.builds.dvc_files import parse_dvc_file
from commands.builds.git import git
from commands.builds.lock import LEGACY, File, parse_file
from validators.problems import Problems

if TYPE_CHECKING:
    from commands.builds.dvc import DvcStage, HashInfo, Output, Repo

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
Out = tuple[str, "HashInfo", int]  # (path, its hash, bytes as recorded)


@dataclass(frozen=True)
class Bundle:
    """Outputs that are only useful together. name: a stage, a .dvc file, a record's command, or a path. record: (key, value)."""

    name: str
    outs: tuple[Out, ...]
    record: tuple[str, str] | None = None
    deps: tuple[Out, ...] = ()  # as outs; includes code and data in git


def workspace_bundles(repo: "Repo") -> tuple[list[Bundle], list[tuple[str, str]]]:
    """(what the workspace needs, [(path, why it is left to DVC)])."""
    found: list[Bundle] = []
    left: list[tuple[str, str]] = []
    for stage in repo.index.stages:
        outs = []
        for out in stage.outs:
            if not out.use_cache or not out.hash_info:
                continue
            if why := reason_to_leave(stage, out):
                left.append((out.def_path, why))
            else:
                outs.append((out.def_path, out.hash_info, (out.meta.size if out.meta else None) or 0))
        if outs:
            found.append(Bundle(stage.addressing, tuple(outs)))
    return found, left


def reason_to_leave(stage: "DvcStage", out: "Output") -> str:
    """Why DVC must move an output, not `tilth share`; "" where it need not."""
    if stage.is_repo_import:
        return "comes from another repository: dvc pull"
    if out.remote:
        return f"has a remote of its own, {out.remote}: dvc push, dvc pull"
    if not out.can_push:
        return "has `push: false`"
    return ""


def read_record(key: str, value: str, text: bytes) -> Bundle | str:
    """The Bundle of a record, or why it cannot be trusted.

    A record whose name is not the hash of its content is damaged, or was forged to write elsewhere than its stage does.
    """
    from commands.builds.dvc import read_record as read_by_dvc

    try:
        record = read_by_dvc(key, value, text)
        outs = parse_outs(map(parse_file, record["outs"]))
        # a dependency outside the project may have an etag
        deps = parse_outs(parse_file(dep) for dep in record.get("deps", ()) if "md5" in dep)
    except ValueError as error:
        return str(error)
    command = record["cmd"] if isinstance(record["cmd"], str) else "; ".join(record["cmd"])
    return Bundle(command, outs, (key, value), deps)


def parse_outs(files: Iterable[File]) -> "tuple[Out, ...]":
    """The Outs of Files. ValueError for a hash that is not one: used as a path, it could lead anywhere."""
    from commands.builds.dvc import HashInfo

    files = tuple(files)
    if strange := [file.md5 for file in files if not MD5.fullmatch(file.md5 or "")]:
        raise ValueError(f"cannot be read: {strange[0]} is no hash")
    return tuple((file.path, HashInfo(file.hash or LEGACY, file.md5), file.size or 0) for file in files)


def input_bundles(repo: "Repo", records: Iterable[Bundle], made: "set[HashInfo]") -> "dict[HashInfo, Bundle]":
    """{HashInfo: Bundle} of what runs read and no run made, and of the data of every .dvc file in git's history."""
    tracked = [pair for path, text in committed_dvc_files() for pair in data_of_dvc_file(path, text)]
    # a run that read a folder with single files tracked by DVC has only the hash of the folder
    read = {
        entry[1]: entry for entry in [*(dep for one in records for dep in one.deps), *(entry for entry, _ in tracked)]
    }
    apart = {PurePosixPath(entry[0]) for entry, sent in tracked if not sent} | paths_left_to_dvc(repo)
    return {
        top: Bundle(entry[0], (entry,))
        for top, entry in read.items()
        if top not in made and not apart & {PurePosixPath(entry[0]), *PurePosixPath(entry[0]).parents}
    }


def paths_left_to_dvc(repo: "Repo") -> set[PurePosixPath]:
    """Paths of outputs that DVC must move: none of their versions go to the one remote."""
    outs = (out for stage in repo.index.stages for out in stage.outs if out.use_cache and reason_to_leave(stage, out))
    return {PurePosixPath(os.path.relpath(out.fs_path, repo.root_dir)) for out in outs}


def committed_dvc_files() -> Iterator[tuple[str, bytes]]:
    """Yields (path, text) of every version of every .dvc file in git's history."""
    options = ["--raw", "--no-abbrev", "--no-renames", "--format=", "--relative", "-z"]
    changes = git("log", "--all", "-m", "--root", *options, "--", "*.dvc")
    parts = (changes or b"").split(b"\0")
    # :100644 100644 <blob before> <blob> M, then the path
    named = {about.split()[3].decode(): os.fsdecode(path) for about, path in zip(parts[::2], parts[1::2], strict=False)}
    for blob, path in named.items():
        if text := git("cat-file", "blob", blob):
            yield path, text


def data_of_dvc_file(path: str, text: bytes) -> "list[tuple[Out, bool]]":
    """[(Out, whether it goes to the one remote)] of the data of a .dvc file."""
    try:
        found = parse_dvc_file(path, text)
        return list(zip(parse_outs(one.file for one in found), (one.pushed for one in found), strict=True))
    except (Problems, ValueError):
        return []  # a broken file in the history cannot be repaired, and the others are still good


def parse_folder_list(hash_info: "HashInfo", data: bytes) -> "list[HashInfo] | None":
    """The objects of a folder from the bytes of its list; None where they are damaged or name a path outside the folder."""
    from commands.builds.dvc import HashInfo

    if hashlib.md5(data, usedforsecurity=False).hexdigest() != hash_info.as_raw().value:
        return None
    try:
        files = {file["relpath"]: file["md5"] for file in json.loads(data)}
        paths = [PurePosixPath(path) for path in files]
        hashes = all(MD5.fullmatch(md5) for md5 in files.values())
    except (ValueError, KeyError, TypeError):
        return None
    if not hashes or any(path.is_absolute() or ".." in path.parts for path in paths):
        return None
    return [HashInfo(hash_info.name, md5) for md5 in files.values()]
