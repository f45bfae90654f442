"""A build, in the working tree or at any commit: its params, its lock, and the bytes of every output.

    build = read_build("v1")                           # or read_build() for the working tree
    build.stages["curate@chat"].outs                   # dvc.lock: what went into a stage, and what came out
    file_of(build, "data/train/chat.parquet")          # a path to read: in the working tree, or in the DVC cache

Reads texts from git, and outputs from the cache by the hashes of dvc.lock. Checks nothing out and writes nothing.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, cast

from commands.builds.git import Missing, commit_of, display_path, one_line, text_of
from commands.builds.lock import File, Stage, read_lock
from stages.core.dvc_cache import cache_folder
from validators.problems import Problem, Problems

SIDES = ("train", "eval")


@dataclass(frozen=True)
class Build:
    """rev: a commit's full hash, None for the working tree. params: with every default filled in. stages: {name: Stage} of dvc.lock."""

    rev: str | None
    params: dict[str, Any]
    stages: dict[str, Stage] = field(default_factory=dict)

    @cached_property
    def outs(self) -> dict[str, File]:
        """{path: File} of all outputs of stages."""
        return {path: file for stage in self.stages.values() for path, file in stage.outs.items()}

    def md5_of(self, path: str) -> str | None:
        """The hash of an output, None where no stage made it."""
        return self.outs[path].md5 if path in self.outs else None

    def maker_of(self, out: str) -> str:
        """The stage that made an output."""
        return cast(str, self.outs[out].stage)  # None is for dependencies

    def makes(self, path: str) -> bool:
        """Whether a path is an output, inside an output, or a folder of outputs."""
        return path in self.outs or path in self.output_folders or self.output_around(path) is not None

    def output_around(self, path: str) -> str | None:
        """The output that contains a path, None where there is none."""
        return next((out for part in PurePosixPath(path).parents if (out := part.as_posix()) in self.outs), None)

    @cached_property
    def output_folders(self) -> set[str]:
        """The folders that hold outputs."""
        return {folder.as_posix() for out in self.outs for folder in PurePosixPath(out).parents}

    def has(self, subject: str | None) -> bool:
        """Whether params.yaml has a dataset or step of this name. None: the subject of a stage without one."""
        return subject is None or subject in self.datasets or subject in self.steps

    @property
    def datasets(self) -> dict[str, dict[str, Any]]:
        return self.params.get("datasets") or {}

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        return self.params.get("steps") or {}


# -- reading a build --------------------------------------------------------------------------------------------


def read_build(rev: str | None = None) -> Build:
    """The build of a commit (hash, branch, tag), or of the working tree.

    Raises Problems where the commit does not exist, or params.yaml or dvc.lock is missing or does not parse there.
    """
    commit = commit_of(rev) if rev else None
    return Build(commit, with_defaults(raw_params(commit)), read_lock(commit))


def raw_params(commit: str | None) -> dict[str, Any]:
    """params.yaml as written, without defaults. Raises Problems where it is missing or does not parse."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text_of(commit, "params.yaml")) or {}
    except YAMLError as error:
        hint = "tilth check" if not commit else "another revision"
        raise Problems(
            [Problem(display_path(commit, "params.yaml"), f"is not YAML: {one_line(error)}", "", hint)]
        ) from None


def with_defaults(params: dict[str, Any]) -> dict[str, Any]:
    """Params with every default filled in; unchanged where today's models refuse them, as for a past build."""
    from pydantic import ValidationError

    from validators.params import fill_defaults

    try:
        return fill_defaults(params)
    except ValidationError:
        return params


# -- the bytes of outputs -----------------------------------------------------------------------------------------


def object_of(md5: str) -> Path:
    """The path of an object in the cache, whether or not it exists."""
    return cache_folder() / md5[:2] / md5[2:]


def folder_listing(md5: str) -> dict[str, str] | None:
    """{relative path: md5} of a cached folder, None where its list is missing from the cache or damaged."""
    try:
        return {item["relpath"]: item["md5"] for item in json.loads(object_of(md5).read_bytes())}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hashes_of_output(file: File) -> dict[str, str] | None:
    """{path: md5} of a File, or of the files in it if it is a folder; None where the cache does not have its list."""
    md5 = file.md5 or ""
    if not md5.endswith(".dir"):
        return {file.path: md5} if md5 else {}
    found = folder_listing(md5)
    return found and {f"{file.path}/{relative}": md5 for relative, md5 in found.items()}


def files_of(build: Build, out: str) -> dict[str, str]:
    """{path: md5} of every file of an output. Raises Missing where the cache does not have the list of a folder."""
    found = hashes_of_output(build.outs[out])
    if found is None:
        raise missing_bytes(build, out)
    return found


def file_of(build: Build, path: str | Path) -> Path:
    """Where to read an output, or a file inside one: the working tree or the cache. Raises Missing.

    Does not check whether a file of the working tree was changed: `tilth verify` does that.
    """
    path = Path(path).as_posix()
    if build.rev is None and Path(path).exists():
        return Path(path)
    out = path if path in build.outs else build.output_around(path)
    if out is None:
        raise Missing([Problem(display_path(build.rev, path), "no stage of dvc.lock built it", "", "dvc repro")])
    md5 = files_of(build, out).get(path)
    if md5 is None or not object_of(md5).is_file():
        raise missing_bytes(build, path)
    return object_of(md5)


def missing_bytes(build: Build, path: str) -> Missing:
    """The error for an output whose bytes the cache does not have."""
    where = display_path(build.rev, path)
    hint = "dvc pull" if build.rev is None else "dvc fetch --all-commits, if a remote has it"
    return Missing(
        [Problem(where, "its bytes are not in the DVC cache", "", f"{hint}; the rest of the output is complete")]
    )


# -- steps and datasets -------------------------------------------------------------------------------------------


def chain(build: Build, step: str) -> list[str]:
    """The steps that made a model, first to last, with its own; `base` is not a step."""
    names = []
    while step in build.steps and step not in names:
        names.append(step)
        step = build.steps[step]["from"]
    return names[::-1]


def models_trained_on(build: Build, dataset: str) -> list[str]:
    """The steps whose model was trained on a dataset, by the step itself or by one that it started from."""
    return [step for step in build.steps if any(build.steps[s]["dataset"] == dataset for s in chain(build, step))]


def find_tables(build: Build, *rooms: str) -> tuple[dict[tuple[str, str], Path], list[Problem]]:
    """({(room, dataset): path to read}, problems) of the Parquet files of data/<room>/. rooms: train and eval, for example."""
    found, problems = {}, []
    for room in rooms:
        for name in build.datasets:
            try:
                found[room, name] = file_of(build, f"data/{room}/{name}.parquet")
            except Missing as error:
                problems += error.problems
    return found, problems
