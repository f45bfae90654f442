"""What differs between a build and its inputs, now or at its commit. This module alone decides what is stale.

    differences(read_build())["curate@chat"]     # [Difference("param", "params.yaml", "eval_fraction", 0.3, 0.5)]

`tilth lineage`, `tilth verify`, `tilth diff` and `tilth plan` use it, and each words the result itself. They may read
different amounts: verify passes the hashes of all bytes that are there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from commands.builds.build import Build, files_of
from commands.builds.changes import Change, changed_params
from commands.builds.code import CODE_FOLDER, current_lists, lists_md5, written_lists
from commands.builds.dvc_yaml import StageSpec
from commands.builds.git import Missing
from commands.builds.lock import Stage
from commands.builds.params import PARAMS, params_then_and_now
from commands.builds.sources import md5_of_source, sources_of
from stages.core.hashes import folder_md5

ABSENT = object()  # null is a value
# folders in which `pin`, `collect`, `collect_scores` and `report` delete what params.yaml no longer has
CLEARED_FOLDERS = ("data/ingested", "data/train", "data/eval", "data/rejected", "data/kept", "scores")
TRAINING_KEYS = ("method", "from", "dataset", "seed", "args", "lora", "rewards")  # these decide what a step trains


@dataclass(frozen=True)
class Difference:
    """One thing in which a stage or an output is not what it would be now.

    what    path                  old, new
    param   params.yaml           the values of `key`, ABSENT where it has none; no key where no copy of the old is left
    dep     a dependency          a File, None where it is new to the stage; its DepState
    code    a list of code        the same
    cmd                           commands
    model   made_of.json          the values of `key` in its training, and now

    `tilth plan` adds `new`, `output` (new: what DVC says of it), `always`, `cache` and `unknown` (new: the paths).
    """

    what: str
    path: str = ""
    key: str = ""
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class DepState:
    """A dependency now. md5: None where it is missing, "" where its bytes were not read. made: whether a stage makes it."""

    md5: str | None
    size: int | None = None
    made: bool = False
    origin: str = ""  # where the hash comes from, if not from the bytes


def differences(
    build: Build, states: dict[str, DepState] | None = None, graph: Mapping[str, StageSpec] | None = None
) -> dict[str, list[Difference]]:
    """{stage: its Differences} of every stage of a build.

    states: of the dependencies to compare. graph: of `resolve_dvc_yaml`; without it, the command is taken from `launch` of
    params.yaml.
    """
    states = dep_states(build) if states is None else states
    return {
        name: [
            *stage_param_differences(build, stage),
            *dep_differences(stage, states),
            *cmd_differences(stage, graph[name]["cmd"] if graph else expected_cmd(build, stage)),
        ]
        for name, stage in build.stages.items()
        if graph is None or name in graph
    }


def stale_inputs(build: Build, name: str, found: dict[str, list[Difference]]) -> list[str]:
    """The outputs that a stage read and that are stale themselves, without lists of all datasets or scores.

    found: the differences of each stage.
    """
    stage = build.stages[name]
    made_from = [dep for dep in stage.deps if dep in build.outs and dep[0] != "." and not dep.endswith(".json")]
    return [path for path in made_from if found[maker := build.maker_of(path)] or stale_inputs(build, maker, found)]


# -- parameters ---------------------------------------------------------------------------------------------------


def stage_param_differences(build: Build, stage: Stage) -> list[Difference]:
    """The Differences of the params that a stage reads; one without a key where no copy of the old ones is left."""
    before, now = params_then_and_now(build, stage.name)
    return [Difference("param", PARAMS)] if before is None else param_differences(PARAMS, before, now)


def param_differences(
    path: str, old: Mapping[str, Any], new: Mapping[str, Any], what: str = "param"
) -> list[Difference]:
    """The Differences of two nested dicts of parameters. 1, 1.0 and true are equal, as in DVC."""
    found = ((item["key"], item.get("old", ABSENT), item.get("new", ABSENT)) for item in changed_params(old, new))
    return [Difference(what, path, key, before, after) for key, before, after in found if before != after]


def as_change(difference: Difference) -> Change:
    """The Difference of a parameter as a Change."""
    sides = {"key": difference.key, "old": difference.old, "new": difference.new}
    return cast(Change, {name: value for name, value in sides.items() if value is not ABSENT})


def model_differences(build: Build, step: str, made_of: dict[str, Any]) -> list[Difference]:
    """What params.yaml changed in a step since its model was trained. made_of: the model's made_of.json."""
    declared = build.steps[step]
    now = declared | {"seed": (declared.get("args") or {}).get("seed", build.params.get("seed"))}
    sides = ({key: side[key] for key in TRAINING_KEYS if side.get(key)} for side in (made_of, now))
    return param_differences(f"models/{step}/made_of.json", *sides, what="model")


# -- dependencies and commands ------------------------------------------------------------------------------------


def dep_differences(stage: Stage, states: dict[str, DepState]) -> Iterator[Difference]:
    """Yields a Difference for each dependency whose bytes changed. One that was not read is equal if its size is."""
    for path, dep in stage.deps.items():
        now = states.get(path)
        unread = now and now.md5 == "" and now.size == dep.size
        if now and now.md5 != dep.md5 and not unread:
            yield Difference("code" if is_code(path) else "dep", path, old=dep, new=now)


def cmd_differences(stage: Stage, wanted: str | list[str]) -> list[Difference]:
    return [] if stage.cmd == wanted else [Difference("cmd", old=stage.cmd, new=wanted)]


def expected_cmd(build: Build, stage: Stage) -> str | list[str]:
    """The command of a stage with the `launch` of params.yaml."""
    if stage.kind != "train" or not isinstance(stage.cmd, str) or " -m stages " not in stage.cmd:
        return stage.cmd
    return f"{build.params.get('launch')} -m stages {stage.cmd.partition(' -m stages ')[2]}"


def is_code(path: str) -> bool:
    return path.startswith(f"{CODE_FOLDER}/")


# -- dependencies now ---------------------------------------------------------------------------------------------


def dep_states(build: Build) -> dict[str, DepState]:
    """{path: DepState} of every dependency of a build, here or at its commit, without reading large files.

    At a commit, leaves out what neither git nor DVC has: nothing says that it changed.
    """
    sources = {}
    source_paths = sorted(dep for dep in deps_of(build) if not build.makes(dep) and not is_code(dep))
    for path, files in sources_of(build, source_paths).items():
        found = DepState(md5_of_source(path, files), sum(file.size or 0 for file in files))
        # older builds have the code itself in the lock, not lists of it
        if found.md5 is not None or build.rev is None or path.startswith(("stages", "validators")):
            sources[path] = found
    return known_dep_states(build, sources, partial(files_of, build))


def known_dep_states(
    build: Build, sources: dict[str, DepState], files: Callable[[str], Mapping[str, str | None]]
) -> dict[str, DepState]:
    """{path: DepState} of every dependency of a build that is known.

    sources: of what no stage makes. files: an output -> {path: md5} of the files in it; may raise Missing.
    """
    deps, found = deps_of(build), {}
    lists = (current_lists() if build.rev is None else written_lists(build)) if any(map(is_code, deps)) else {}
    for path in deps:
        if is_code(path):
            found[path] = DepState(lists_md5(lists, path), made=True, origin="the list of the code as it is")
        elif path in build.outs:
            out = build.outs[path]
            found[path] = DepState(out.md5, out.size, True, f"what {out.stage} made")
        elif build.makes(path):
            try:
                found[path] = state_in_outputs(build, path, files)
            except Missing:
                continue
        elif path in sources:
            found[path] = sources[path]
    return found


def state_in_outputs(build: Build, path: str, files: Callable[[str], Mapping[str, str | None]]) -> DepState:
    """The DepState of a file in an output, or of a folder that several stages fill."""
    if out := build.output_around(path):
        return DepState(files(out).get(path), made=True)
    listing: dict[str, str | None] = {}
    for out, file in build.outs.items():
        # of what params.yaml no longer has, CLEARED_FOLDERS hold nothing; others hold it until `tilth prune`
        maker = build.maker_of(out)
        if (
            out.startswith(f"{path}/")
            and (path not in CLEARED_FOLDERS or build.has(build.stages[maker].subject))
            and is_configured(build, maker)
        ):
            listing |= files(out) if (file.md5 or "").endswith(".dir") else {out: file.md5}
    md5 = folder_md5({name[len(path) + 1 :]: md5 for name, md5 in listing.items()})
    return DepState(md5, made=True, origin="the list of what stages made there")


def is_configured(build: Build, stage: str) -> bool:
    """False for `keep` of a dataset without a rule in `difficulty`: the stages that read its output have deleted it."""
    kind, _, subject = stage.partition("@")
    return kind != "keep" or subject in (build.params.get("difficulty") or {})


def deps_of(build: Build) -> set[str]:
    return {path for stage in build.stages.values() for path in stage.deps}
