"""What differs between a build and what is there now, or at its commit: staleness, decided in this one place.

    differences(at())["curate@chat"]     # [Difference("param", "params.yaml", "eval_fraction", 0.3, 0.5)]

`tilth lineage`, `tilth verify` and `tilth diff` ask for all of it or a part, `tilth plan` goes on from the same pieces to what
stages will write. Each makes words of it. What may be read differs: verify hands in the hashes of all bytes that are there.
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
from commands.builds.sources import md5_of_source as md5_of_source
from commands.builds.sources import sources_of
from stages.core.hashes import folder_md5

ABSENT = object()  # null is a value
# where `collect`, `collect_scores` and `report` delete what is no more
CLEARED_FOLDERS = ("data/train", "data/eval", "data/rejected", "data/kept", "scores")
TRAINING_KEYS = ("method", "from", "dataset", "seed", "args", "lora", "rewards")  # what a step's training is decided by


@dataclass(frozen=True)
class Difference:
    """One thing in which a stage, or what was made, is not what it would be now.

    what    path                  old, new
    param   params.yaml           the values of `key`, ABSENT where it has none; no key where no copy of the old is left
    dep     a dependency          a File, None where it is new to the stage; the Present of it
    code    a list of code        the same
    cmd                           commands
    model   made_of.json          the values of `key` that a model was trained with, and would be

    `tilth plan` adds `new`, `output` (new: what DVC says of it), `always`, `cache` and `unknown` (new: the paths).
    """

    what: str
    path: str = ""
    key: str = ""
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class DepState:
    """A dependency as it is. md5: None where nothing is there, "" where its bytes were not read. made: by a stage."""

    md5: str | None
    size: int | None = None
    made: bool = False
    whence: str = ""  # who says so, where it is not its bytes


def differences(
    build: Build, present: dict[str, DepState] | None = None, graph: Mapping[str, StageSpec] | None = None
) -> dict[str, list[Difference]]:
    """{stage: its Differences} of every stage of a build.

    present: {path: Present} of dependencies, others are not compared. graph: what dvc.yaml asks for (`resolved`); without it,
    params.yaml says how a stage is launched.
    """
    present = dep_states(build) if present is None else present
    return {
        name: [
            *stage_param_differences(build, stage),
            *dep_differences(stage, present),
            *cmd_differences(stage, graph[name]["cmd"] if graph else expected_cmd(build, stage)),
        ]
        for name, stage in build.stages.items()
        if graph is None or name in graph
    }


def stale_inputs(build: Build, name: str, found: dict[str, list[Difference]]) -> list[str]:
    """The outputs that a stage was made from and that are stale themselves; lists of datasets and scores say nothing of one.

    found: the differences of each stage.
    """
    stage = build.stages[name]
    made_from = [dep for dep in stage.deps if dep in build.outs and dep[0] != "." and not dep.endswith(".json")]
    return [path for path in made_from if found[maker := build.maker_of(path)] or stale_inputs(build, maker, found)]


# -- parameters ---------------------------------------------------------------------------------------------------


def stage_param_differences(build: Build, stage: Stage) -> list[Difference]:
    """The Differences of what a stage reads of the params; one without a key where no copy of what it read is left."""
    before, now = params_then_and_now(build, stage.name)
    return [Difference("param", PARAMS)] if before is None else param_differences(PARAMS, before, now)


def param_differences(
    path: str, old: Mapping[str, Any], new: Mapping[str, Any], what: str = "param"
) -> list[Difference]:
    """The Differences of two dicts of parameters, as deep in as both are dicts; 1, 1.0 and true are the same to DVC."""
    found = ((item["key"], item.get("old", ABSENT), item.get("new", ABSENT)) for item in changed_params(old, new))
    return [Difference(what, path, key, before, after) for key, before, after in found if before != after]


def as_change(difference: Difference) -> Change:
    """The Difference of a parameter as `changed_params` has it: {key, old?, new?}."""
    sides = {"key": difference.key, "old": difference.old, "new": difference.new}
    return cast(Change, {name: value for name, value in sides.items() if value is not ABSENT})


def model_differences(build: Build, step: str, made: dict[str, Any]) -> list[Difference]:
    """What params.yaml says of a step now and did not when its model was trained. made: the model's made_of.json."""
    declared = build.steps[step]
    now = declared | {"seed": (declared.get("args") or {}).get("seed", build.params.get("seed"))}
    sides = ({key: side[key] for key in TRAINING_KEYS if side.get(key)} for side in (made, now))
    return param_differences(f"models/{step}/made_of.json", *sides, what="model")


# -- dependencies and commands ------------------------------------------------------------------------------------


def dep_differences(stage: Stage, present: dict[str, DepState]) -> Iterator[Difference]:
    for path, dep in stage.deps.items():
        now = present.get(path)
        unread = now and now.md5 == "" and now.size == dep.size
        if now and now.md5 != dep.md5 and not unread:
            yield Difference("code" if is_code(path) else "dep", path, old=dep, new=now)


def cmd_differences(stage: Stage, wanted: str | list[str]) -> list[Difference]:
    return [] if stage.cmd == wanted else [Difference("cmd", old=stage.cmd, new=wanted)]


def expected_cmd(build: Build, stage: Stage) -> str | list[str]:
    """The command of a stage as params.yaml launches trainers."""
    if stage.kind != "train" or not isinstance(stage.cmd, str) or " -m stages " not in stage.cmd:
        return stage.cmd
    return f"{build.params.get('launch')} -m stages {stage.cmd.partition(' -m stages ')[2]}"


def is_code(path: str) -> bool:
    return path.startswith(f"{CODE_FOLDER}/")


# -- what is there ------------------------------------------------------------------------------------------------


def dep_states(build: Build) -> dict[str, DepState]:
    """{path: Present} of every dependency of a build, here or at its commit, without reading what is large.

    At a commit, what neither git nor DVC has is left out: it is not known to have changed.
    """
    sources = {}
    of_people = sorted(dep for dep in deps_of(build) if not build.makes(dep) and not is_code(dep))
    for path, files in sources_of(build, of_people).items():
        found = DepState(md5_of_source(path, files), sum(file.size or 0 for file in files))
        # code stood in the lock itself in builds from before there were lists
        if found.md5 is not None or build.rev is None or path.startswith(("stages", "validators")):
            sources[path] = found
    return known_dep_states(build, sources, partial(files_of, build))


def known_dep_states(
    build: Build, sources: dict[str, DepState], files: Callable[[str], Mapping[str, str | None]]
) -> dict[str, DepState]:
    """{path: Present} of every dependency of a build that is known.

    sources: {path: Present} of what no stage makes. files: an output -> {path: md5} of what is in it, which may raise Missing.
    """
    deps, found = deps_of(build), {}
    lists = (current_lists() if build.rev is None else written_lists(build)) if any(map(is_code, deps)) else {}
    for path in deps:
        if is_code(path):
            found[path] = DepState(lists_md5(lists, path), made=True, whence="the list of the code as it is")
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
    """The Present of a file in an output, or of a folder that several stages fill."""
    if around := build.around(path):
        return DepState(files(around).get(path), made=True)
    listing: dict[str, str | None] = {}
    for out, file in build.outs.items():
        # what params.yaml no longer has was deleted from some folders, and stays in others until `tilth prune`
        maker = build.maker_of(out)
        if (
            out.startswith(f"{path}/")
            and (path not in CLEARED_FOLDERS or build.has(build.stages[maker].subject))
            and is_configured(build, maker)
        ):
            listing |= files(out) if (file.md5 or "").endswith(".dir") else {out: file.md5}
    md5 = folder_md5({name[len(path) + 1 :]: md5 for name, md5 in listing.items()})
    return DepState(md5, made=True, whence="the list of what stages made there")


def is_configured(build: Build, stage: str) -> bool:
    """False of a stage that `keep`s prompts by no rule any more: who depends on what it wrote has deleted that."""
    kind, _, subject = stage.partition("@")
    return kind != "keep" or subject in (build.params.get("difficulty") or {})


def deps_of(build: Build) -> set[str]:
    return {path for stage in build.stages.values() for path in stage.deps}
