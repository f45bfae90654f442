"""What a project is made of in DVC's cache: the outputs of the workspace, and those of every variant that was ever built.

    wanted(repo)[0]      # Wanted("train@align", [("models/align", HashInfo)], record=None)
    read_record(key, value, text)      # the same of a record of the run cache, or what is wrong with it

A record of the run cache says what a stage made of which input: `runs/<2>/<key>/<value>`, both named after its content.
DVC restores a variant from it, where every object that it names is in the cache.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath

LEGACY = "md5-dos2unix"  # how DVC 2 hashed; entries without a `hash` are of that time


@dataclass(frozen=True)
class Wanted:
    """What must be whole to be of use. name: a stage, a .dvc file, or a record's command. record: (key, value)."""

    name: str
    outs: tuple  # (path, HashInfo, bytes as recorded)
    record: tuple | None = None


def wanted(repo):
    """(what the workspace needs, [(path, why it is left to DVC)])."""
    found, left = [], []
    for stage in repo.index.stages:
        outs = []
        for out in stage.outs:
            if not out.use_cache or not out.hash_info:
                continue
            if why := reason_to_leave(stage, out):
                left.append((out.def_path, why))
            else:
                outs.append((out.def_path, out.hash_info, (out.meta and out.meta.size) or 0))
        if outs:
            found.append(Wanted(stage.addressing, tuple(outs)))
    return found, left


def reason_to_leave(stage, out):
    """Why an output goes another way than to the one remote; nothing where it does not."""
    if stage.is_repo_import:
        return "comes from another repository: dvc pull"
    if out.remote:
        return f"has a remote of its own, {out.remote}: dvc push, dvc pull"
    if not out.can_push:
        return "has `push: false`"
    return ""


def read_record(key, value, text):
    """What a record names, or why it is not to be trusted, as text.

    A record whose name is not the hash of its content was damaged, or made up to write elsewhere than its stage does.
    """
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
    from dvc.stage.cache import _get_cache_hash
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
    from dvc_data.hashfile.hash_info import HashInfo
    from voluptuous import Invalid

    try:
        record = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(text, value))
        outs = tuple(
            (out["path"], HashInfo(out.get("hash", LEGACY), out["md5"]), out.get("size") or 0) for out in record["outs"]
        )
        # the second call changes the record: it comes last
        if _get_cache_hash(record) != value or _get_cache_hash(record, key=True) != key:
            return "its content does not belong to its name"
    except (YAMLFileCorruptedError, Invalid, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        return f"cannot be read: {' '.join(str(error).split())[:120]}"
    command = record["cmd"] if isinstance(record["cmd"], str) else "; ".join(record["cmd"])
    return Wanted(command, outs, (key, value))


def members(hash_info, data):
    """The objects of a folder from the bytes of its list; nothing where these are damaged or name a path outside it."""
    from dvc_data.hashfile.hash_info import HashInfo

    if hashlib.md5(data, usedforsecurity=False).hexdigest() != hash_info.as_raw().value:
        return None
    files = json.loads(data)
    paths = [PurePosixPath(file["relpath"]) for file in files]
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        return None
    return [HashInfo(hash_info.name, file["md5"]) for file in files]
