"""What DVC has of builds before this one: the records of dvc.lock and of the run cache, and the bytes in its cache.

    for record in records("train"): ...   # Record(cmd, deps={path: md5}, outs={path: md5}), those of dvc.lock first
    object_of("5f0e...")                  # .dvc/cache/files/md5/5f/0e...

A stage finds here what was made of the same content under another name. Any of it may be missing, cut, or of another
project: who reads it checks it, and makes anew what does not hold. DVC itself is not imported: it takes a second.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CACHE_SECTION = re.compile(r"^\s*\[\s*cache\s*\]", re.MULTILINE | re.IGNORECASE)
STAGE_COMMAND = re.compile(r"-m stages (\w+)(?: (\w+))?$")


@dataclass(frozen=True)
class StageRun:
    """One run of a stage. name: of its dataset or step, None where it has none. deps, outs: {path: md5}."""

    cmd: str
    stage: str
    name: str | None
    deps: dict[str, str]
    outs: dict[str, str]


def stage_runs(*stages: str) -> Iterator[StageRun]:
    """Every run of some stages that DVC knows: those of dvc.lock, then those of the run cache, the newest first."""
    for entry in lock_entries():
        yield from parse_run(entry, stages)
    markers = [f"-m stages {stage}".encode() for stage in stages]
    for path in sorted((cache_folder().parents[1] / "runs").glob("*/*/*"), key=change_time, reverse=True):
        try:
            text = path.read_bytes()
        except OSError:  # removed in the meantime
            continue
        if any(marker in text for marker in markers):
            yield from parse_run(parse_yaml(text), stages)


def lock_entries() -> list[Any]:
    """The entries of dvc.lock, those of steps that params.yaml no longer has too; [] where it cannot be read."""
    try:
        found = parse_yaml(Path("dvc.lock").read_bytes())
        return list(found["stages"].values())
    except (OSError, LookupError, TypeError, AttributeError):
        return []


def parse_yaml(text: bytes) -> Any:
    """YAML as DVC writes it, None where it is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        return None


def parse_run(entry: Any, stages: tuple[str, ...]) -> Iterator[StageRun]:
    """The Record of an entry; nothing where it is of other stages, or not as DVC writes it."""
    try:
        found = STAGE_COMMAND.search(entry["cmd"])
        if found and found[1] in stages:
            sides = [
                {file["path"]: file["md5"] for file in entry[side] if file["hash"] == "md5"}
                for side in ("deps", "outs")
            ]
            yield StageRun(entry["cmd"], found[1], found[2], *sides)
    except (TypeError, LookupError):
        return


def change_time(path: Path) -> tuple[float, str]:
    """When a file was written, with its name, for files of one moment."""
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name


# -- the cache ------------------------------------------------------------------------------------------------------


def object_path(md5: str) -> Path:
    """Where DVC keeps the bytes of a hash, whether they are there or not."""
    return cache_folder() / md5[:2] / md5[2:]


def files_in_folder(md5: str) -> dict[str, str] | None:
    """{relative path: md5} of a folder (`...dir`), None where the cache does not know it."""
    try:
        listed = json.loads(object_path(md5).read_bytes())
        return {file["relpath"]: file["md5"] for file in listed}
    except (OSError, ValueError, TypeError, LookupError):
        return None


@cache
def cache_folder() -> Path:
    """Where DVC keeps objects: `.dvc/cache/files/md5`, or what the configuration says."""
    folder = Path(".dvc/cache")
    for file in config_files():
        if CACHE_SECTION.search(file.read_text(encoding="utf-8", errors="replace")):
            from configobj import ConfigObj  # which DVC reads them with

            told = ConfigObj(str(file), encoding="utf-8").get("cache", {}).get("dir")
            folder = file.parent / os.path.expanduser(told) if told else folder
    return folder / "files/md5"


def config_files() -> list[Path]:
    """The files of DVC's configuration that are there, each overruling those before it: the machine's first, this clone's last."""
    from platformdirs import site_config_dir, user_config_dir

    folders = (
        os.environ.get("DVC_SYSTEM_CONFIG_DIR") or site_config_dir("dvc", "iterative"),
        os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user_config_dir("dvc", "iterative"),
    )
    files = [*(Path(folder, "config") for folder in folders), Path(".dvc/config"), Path(".dvc/config.local")]
    return [file for file in files if file.is_file()]
