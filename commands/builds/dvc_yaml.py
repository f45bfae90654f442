"""dvc.yaml, resolved by DVC itself with the present params.yaml: what dvc.lock should contain.

resolve_dvc_yaml()["train@sft"] -> {"cmd": "python -m stages train sft", "deps": {"models/base", ...}, "params": {"params.yaml": None},
                            "outs": {"models/sft", "scores/sft.csv"}, "uncached": set()}
"""

from collections.abc import Iterable
from posixpath import normpath
from typing import Any, TypedDict

from commands.builds.git import one_line
from validators.problems import Problem, Problems

PARAMS = "params.yaml"


class StageSpec(TypedDict):
    """A stage as dvc.yaml defines it. params: {file: names, None for all}. uncached: the `outs` that the cache does not keep."""

    cmd: str | list[str]
    deps: set[str]
    params: dict[str, set[str] | None]
    outs: set[str]
    uncached: set[str]


def resolve_dvc_yaml() -> dict[str, StageSpec]:
    """{stage: its spec} of the working folder. Raises Problems where dvc.yaml does not resolve."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from commands.builds.dvc import DvcException, resolve

    try:
        with open("dvc.yaml", encoding="utf-8") as file:
            graph = YAML(typ="safe", pure=True).load(file)
        stages = resolve(graph)
    except (OSError, UnicodeDecodeError, YAMLError, DvcException, AttributeError) as error:
        raise Problems([Problem("dvc.yaml", f"does not resolve: {one_line(error)}", "", "dvc stage list")]) from None
    return {name: stage_spec(stage) for name, stage in stages.items()}


def stage_spec(stage: dict[str, Any]) -> StageSpec:
    """A resolved stage, with paths as in dvc.lock."""
    outs = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key) or []]
    return {
        "cmd": stage["cmd"],
        "deps": {normpath(path) for path in stage.get("deps") or []},
        "params": param_names(stage.get("params") or []),
        "outs": {normpath(output_path(entry)) for entry in outs},
        "uncached": {normpath(output_path(entry)) for entry in outs if output_options(entry).get("cache") is False},
    }


def output_path(entry: str | dict[str, Any]) -> str:
    """The path of an output, from a path or {path: options}."""
    return entry if isinstance(entry, str) else next(iter(entry))


def output_options(entry: str | dict[str, Any]) -> dict[str, Any]:
    return {} if isinstance(entry, str) else entry[output_path(entry)] or {}


def param_names(entries: Iterable[str | dict[str, Any]]) -> dict[str, set[str] | None]:
    """{file: names of its parameters, None for all}."""
    found: dict[str, set[str] | None] = {}
    for entry in entries:
        for file, keys in ({PARAMS: [entry]} if isinstance(entry, str) else entry).items():
            known = found.get(file, set())
            found[file] = None if keys is None or known is None else {*known, *keys}
    return found
