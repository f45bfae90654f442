"""dvc.lock as plain data: the inputs and outputs of each stage of the last build.

    read_lock("v1")["curate@chat"].deps["data/benchmarks"].md5    # of a commit; of the working tree: read_lock(None)
    for stage in cached_runs(): ...                               # the same for each run that the run cache can restore

Paths are normalised. `parse_yaml` reads all YAML that DVC writes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from posixpath import normpath
from typing import Any

from commands.builds.git import Missing, display_path, one_line, text_of
from stages.core.dvc_cache import cache_folder
from validators.conflicts import conflicts_in
from validators.problems import Problem, Problems

LEGACY = "md5-dos2unix"  # the hashes of DVC 2; its entries have no `hash`


@dataclass(frozen=True)
class File:
    """A dependency or output, a file or a folder. stage: the stage that made it; None for a dependency."""

    path: str
    md5: str | None = None  # ends with .dir for a folder
    size: int | None = None
    nfiles: int | None = None
    hash: str | None = None  # None stands for LEGACY
    stage: str | None = None

    def entry(self) -> dict[str, Any]:
        """As DVC writes it."""
        fields = {key: getattr(self, key) for key in ("path", "hash", "md5", "size", "nfiles")}
        return {key: value for key, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Stage:
    """One entry of dvc.lock. Of `curate@chat`, the kind is curate and the subject is chat."""

    kind: str
    subject: str | None
    cmd: str | list[str]
    deps: dict[str, File]
    outs: dict[str, File]
    params: dict[str, dict[str, Any]]  # {file: {key with dots: value}}

    @property
    def name(self) -> str:
        return self.kind if self.subject is None else f"{self.kind}@{self.subject}"

    def entry(self) -> dict[str, Any]:
        """As DVC writes it."""
        files = {key: [file.entry() for file in getattr(self, key).values()] for key in ("deps", "outs")}
        return {"cmd": self.cmd, "params": self.params} | files


def read_lock(commit: str | None) -> dict[str, Stage]:
    """{name: Stage} of dvc.lock. Raises Problems where it is missing or broken; the hint says what still works."""
    where = display_path(commit, "dvc.lock")
    still = "tilth ledger and tilth inspect need no lock"
    try:
        text = text_of(commit, "dvc.lock")
        if conflicts := conflicts_in(where, text):
            raise Problems(conflicts)
        lock = parse_yaml(text)
    except Missing:
        hint = f"dvc repro, then commit dvc.lock; {still}" if commit is None else "a commit that has dvc.lock"
        raise Problems([Problem(where, "is not there: nothing was built", "", hint)]) from None
    except ValueError as error:
        hint = f"git checkout dvc.lock, then dvc repro; {still}"
        raise Problems([Problem(where, f"does not parse: {one_line(error)}", "what dvc repro wrote", hint)]) from None
    stages = lock.get("stages") if isinstance(lock, dict) else None
    if not isinstance(stages, dict):
        hint = f"git checkout dvc.lock, then dvc repro; {still}"
        raise Problems([Problem(where, "has no `stages`", "what dvc repro wrote", hint)])
    if odd := [name for name, stage in stages.items() if not is_well_formed(stage)]:
        hint = f"git checkout dvc.lock, then dvc repro; {still}"
        raise Problems([Problem(f"{where}: {odd[0]}", "is no stage", "deps and outs with a `path` each", hint)])
    return {name: parse_stage(name, entry) for name, entry in stages.items()}


def is_well_formed(stage: object) -> bool:
    """True where a stage of the lock has the shape that this package relies on."""
    if not isinstance(stage, dict):
        return False
    entries = [entry for key in ("deps", "outs") for entry in stage.get(key) or []]
    return all(isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in entries)


def parse_stage(name: str, entry: dict[str, Any]) -> Stage:
    """The Stage of a well-formed entry."""
    kind, _, subject = name.partition("@")
    params = {file: keys for file, keys in (entry.get("params") or {}).items() if isinstance(keys, dict)}
    deps, outs = (parse_files(entry.get(key) or [], stage) for key, stage in (("deps", None), ("outs", name)))
    return Stage(kind, subject or None, entry.get("cmd") or "", deps, outs, params)


def parse_files(entries: Iterable[dict[str, Any]], stage: str | None = None) -> dict[str, File]:
    """{path: File} of entries of deps or outs."""
    return {file.path: file for file in (parse_file(entry, stage) for entry in entries)}


def parse_file(entry: dict[str, Any], stage: str | None = None) -> File:
    md5 = None if entry.get("md5") is None else str(entry["md5"])
    return File(normpath(entry["path"]), md5, entry.get("size"), entry.get("nfiles"), entry.get("hash"), stage)


# -- the run cache ------------------------------------------------------------------------------------------------


def cached_runs(limit: int | None = None) -> Iterator[Stage]:
    """Yields the Stage of each record of the run cache. Skips broken records: a killed DVC may leave some."""
    for path in sorted((cache_folder().parents[1] / "runs").glob("*/*/*"))[:limit]:
        try:
            entry = parse_yaml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not UTF-8 is a ValueError too
            continue
        if is_well_formed(entry):
            yield parse_stage(stage_name_of(entry.get("cmd")), entry)


def stage_name_of(cmd: object) -> str:
    """The name of the stage that a command runs, empty where it runs no stage of this project."""
    words = cmd.split() if isinstance(cmd, str) else []
    return "@".join(words[words.index("stages") + 1 :]) if "stages" in words else ""


# -- YAML ---------------------------------------------------------------------------------------------------------


def parse_yaml(text: str | bytes) -> Any:
    """The content of a text of YAML 1.2. Raises ValueError where it does not parse."""
    import yaml

    try:
        return yaml.load(text, Loader=yaml_1_2_loader())
    except yaml.YAMLError as error:
        raise ValueError(one_line(error)) from None


@cache
def yaml_1_2_loader() -> Any:
    """PyYAML's C loader with the scalars of YAML 1.2, which DVC writes; ten times as fast as ruamel."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = type("Loader", (base,), {"yaml_implicit_resolvers": {}})
    for name, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+", list("-+0123456789")),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+0123456789."),
        ),
    ):
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), first)
    return loader
