"""The params of a build as its stages read them (`stages/core/stage_params.py`), and what changed since they ran.

params_of_run(read_build("v1"), "curate@chat")         # {"seed": 7, "datasets": {"chat": {"max_rows": None, ...}}, ...}
params_then_and_now(read_build(), "curate@chat")       # ({"seed": 7, ...}, {"seed": 8, ...})

dvc.lock has the hash of what a stage read. The text with this hash is in the params of the build, in the files that `check`
wrote, or in one of the last commits. Older builds, from before `check` wrote files, have the values in dvc.lock itself.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from commands.builds.build import Build, raw_params
from commands.builds.git import git, text_of
from commands.builds.lock import Stage

PARAMS_FOLDER = ".build/params"
PARAMS = "params.yaml"


def param_texts(build: Build) -> dict[str, str]:
    """{path: text} of what stages read of a build's params; empty where today's models refuse them."""
    from stages.core.stage_params import texts_by_path

    checked = build.stages["check"].deps.get(PARAMS) if "check" in build.stages else None
    if build.rev and checked and checked.md5 == md5_of_text(text_of(build.rev, PARAMS)):
        return committed_texts(build.rev)  # as the models of that time wrote them
    try:
        return texts_by_path(build.params)
    except (KeyError, TypeError, AttributeError):
        return {}


def md5_of_text(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def params_of_run(build: Build, stage: str) -> dict[str, Any] | None:
    """What a stage of a build read of the params, in the shape of params.yaml; None where no copy of it is left."""
    entry = build.stages.get(stage)
    found = nest(locked_values(entry))
    for path, md5 in param_file_hashes(entry).items():
        read = content_by_hash(build, path, md5)
        if read is None:
            return None
        merge(found, read)
    return found


def params_then_and_now(build: Build, stage: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(then, now) of the params that a stage reads, both empty where nothing differs; then is None where no copy is left."""
    entry, now = build.stages.get(stage), param_texts(build)
    if values := locked_values(entry):
        written = raw_params(build.rev)
        return nest(values), nest({key: value_of(written, key) for key in values})
    if stage == "check" and now:
        return merge_texts(committed_texts(build.rev) if build.rev else written_texts()), merge_texts(now)
    for path, md5 in param_file_hashes(entry).items():
        if path in now and md5_of_text(now[path]) != md5:
            return content_by_hash(build, path, md5), json.loads(now[path])
    return {}, {}


def is_params_file(path: str) -> bool:
    """True for a file with params for stages. Commands show its values, not its hash."""
    return path == PARAMS or path.startswith((f"{PARAMS_FOLDER}/", ".build/params.ok"))


def param_file_hashes(stage: Stage | None) -> dict[str, str | None]:
    """{path: md5} of the files of params that a stage of dvc.lock read. stage: None where it was never built."""
    return {path: dep.md5 for path, dep in stage.deps.items() if path.startswith(f"{PARAMS_FOLDER}/")} if stage else {}


def locked_values(stage: Stage | None) -> dict[str, Any]:
    """{dotted name: value} of the params in dvc.lock itself, in a build from before `check` wrote files."""
    return stage.params.get(PARAMS, {}) if stage else {}


def content_by_hash(build: Build, path: str, md5: str | None) -> dict[str, Any] | None:
    """The content of a file of PARAMS_FOLDER with this hash, from the build or the last commits; None where none has it."""
    found = (text for text in candidate_texts(build, path) if text is not None and md5_of_text(text) == md5)
    text = next(found, None)
    return None if text is None else json.loads(text)


def candidate_texts(build: Build, path: str) -> Iterator[str | None]:
    """Yields the texts that a file of PARAMS_FOLDER has, or had in the last commits."""
    yield param_texts(build).get(path)
    yield committed_texts(build.rev).get(path) if build.rev else written_texts().get(path)
    commits = (git("log", "--max-count=30", "--format=%H", build.rev or "HEAD", "--", path) or b"").decode().split()
    for commit in commits:
        yield committed_texts(commit).get(path)


def written_texts() -> dict[str, str]:
    """{path: text} of the files of PARAMS_FOLDER in the working tree, which `check` wrote last."""
    return {path.as_posix(): text_of(None, path) for path in sorted(Path(PARAMS_FOLDER).rglob("*.json"))}


@cache
def committed_texts(rev: str) -> dict[str, str]:
    """{path: text} of the files of PARAMS_FOLDER at a commit."""
    names = git("ls-tree", "-r", "-z", "--name-only", rev, "--", PARAMS_FOLDER) or b""
    paths = [path for path in names.decode(errors="surrogateescape").split("\0") if path]
    return {path: text_of(rev, path) for path in paths}


def merge_texts(texts: Mapping[str, str]) -> dict[str, Any]:
    """All params that stages read. Skips a text that does not parse: the check `outputs` names it."""
    found: dict[str, Any] = {}
    for text in texts.values():
        with contextlib.suppress(ValueError):
            merge(found, json.loads(text))
    return found


def flatten_names(read: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a stage with each dataset and step under a dotted name: {"seed": 7, "datasets.chat": {...}}."""
    found: dict[str, Any] = {}
    for key, value in read.items():
        inside = key in ("datasets", "steps") and isinstance(value, dict)
        found |= {f"{key}.{name}": entry for name, entry in value.items()} if inside else {key: value}
    return found


def merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"datasets": {"chat": 1}} of {"datasets.chat": 1}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *around, last = key.split(".")
        place = found
        for name in around:
            place = place.setdefault(name, {})
        place[last] = value
    return found


def value_of(params: Any, key: str) -> Any:
    """The value under a dotted name, None where there is none."""
    for part in key.split("."):
        params = params.get(part) if isinstance(params, dict) else None
    return params
