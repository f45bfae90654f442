"""What DVC has of earlier builds: the runs in dvc.lock and in the run cache, and the files in its cache.

    for run in stage_runs("train"): ...   # StageRun(cmd, deps={path: md5}, outs={path: md5}), those of dvc.lock first
    object_path("5f0e...")                # .dvc/cache/files/md5/5f/0e...

A stage finds here what was made from the same content under another name. Any of it may be missing, truncated or from
another project: callers check what they read, and make again what fails the check. DVC itself is not imported: that takes a second.
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
    """One run of a stage. name: its dataset or step, None where it has none. deps, outs: {path: md5}."""

    cmd: str
    stage: str
    name: str | None
    deps: dict[str, str]
    outs: dict[str, str]


def stage_runs(*stages: str) -> Iterator[StageRun]:
    """Every run of these stages that DVC knows: first those of dvc.lock, then those of the run cache, newest first."""
    for entry in lock_entries():
        yield from parse_run(entry, stages)
    markers = [f"-m stages {stage}".encode() for stage in stages]
    for path in sorted((cache_folder().parents[1] / "runs").glob("*/*/*"), key=change_time, reverse=True):
        try:
            text = path.read_bytes()
        except OSError:  # removed meanwhile
            continue
        if any(marker in text for marker in markers):
            yield from parse_run(parse_yaml(text), stages)


def lock_entries() -> list[Any]:
    """The entries of dvc.lock, also of steps that params.yaml no longer has; [] where it cannot be read."""
    try:
        lock = parse_yaml(Path("dvc.lock").read_bytes())
        return list(lock["stages"].values())
    except (OSError, LookupError, TypeError, AttributeError):
        return []


def parse_yaml(text: bytes) -> Any:
    """The data of a YAML text; None where it is not YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        return None


def parse_run(entry: Any, stages: tuple[str, ...]) -> Iterator[StageRun]:
    """The StageRun of an entry; nothing for other stages, or where the entry is not in DVC's format."""
    try:
        command = STAGE_COMMAND.search(entry["cmd"])
        if command and command[1] in stages:
            sides = [
                {file["path"]: file["md5"] for file in entry[side] if file["hash"] == "md5"}
                for side in ("deps", "outs")
            ]
            yield StageRun(entry["cmd"], command[1], command[2], *sides)
    except (TypeError, LookupError):
        return


def change_time(path: Path) -> tuple[float, str]:
    """A sort key: when a file was written, then its name for files with the same time."""
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name


# -- the cache ------------------------------------------------------------------------------------------------------


def object_path(md5: str) -> Path:
    """The path at which DVC keeps the bytes of a hash. The file may not exist."""
    return cache_folder() / md5[:2] / md5[2:]


def files_in_folder(md5: str) -> dict[str, str] | None:
    """{relative path: md5} of a folder (its md5 ends in .dir); None where the cache does not have its list."""
    try:
        files = json.loads(object_path(md5).read_bytes())
        return {file["relpath"]: file["md5"] for file in files}
    except (OSError, ValueError, TypeError, LookupError):
        return None


@cache
def cache_folder() -> Path:
    """The folder of DVC's objects: `.dvc/cache/files/md5`, or where the configuration moves it."""
    folder = Path(".dvc/cache")
    for file in config_files():
        if CACHE_SECTION.search(file.read_text(encoding="utf-8", errors="replace")):
            from configobj import ConfigObj  # DVC reads its configuration with it

            setting = ConfigObj(str(file), encoding="utf-8").get("cache", {}).get("dir")
            folder = file.parent / os.path.expanduser(setting) if setting else folder
    return folder / "files/md5"


def config_files() -> list[Path]:
    """The existing files of DVC's configuration. Each overrides those before it: the machine's first, this clone's last."""
    from platformdirs import site_config_dir, user_config_dir

    folders = (
        os.environ.get("DVC_SYSTEM_CONFIG_DIR") or site_config_dir("dvc", "iterative"),
        os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user_config_dir("dvc", "iterative"),
    )
    files = [*(Path(folder, "config") for folder in folders), Path(".dvc/config"), Path(".dvc/config.local")]
    return [file for file in files if file.is_file()]
