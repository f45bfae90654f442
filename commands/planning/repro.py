"""Predicts what `dvc repro` would do with each stage, without running anything.

    decide() -> [Decision(stage="train@sft", verdict=RUNS, why=[...]), ...] in DVC's order

The stages are decided in DVC's order, each over the workspace as the stages before it will leave it. The outputs of a restored stage
have the hashes of the cache. The outputs of a stage that runs are unknown, unless `commands/planning/forecast.py` knows them. Hashes, keys
of the run cache and the order are DVC's own (`commands/builds/dvc.py`). Differences are those of lineage and verify.
"""

import contextlib
from functools import cached_property, partial
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, Any, cast

from commands.builds.differences import DepState, Difference, cmd_differences, is_code, param_differences
from commands.builds.hashes import size
from commands.builds.lock import Stage, cached_runs, parse_stage, read_lock
from commands.builds.sources import files_of_source
from commands.planning.forecast import forecast_outputs
from commands.planning.state import (
    CHANGED,
    MAY_RUN,
    RECORDED,
    RESTORED,
    RUNS,
    SAME,
    UNCHANGED,
    UNKNOWN,
    Decision,
    State,
)
from stages.core.hashes import folder_md5
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from commands.builds.dvc import Dependency, DvcStage, Repo

    Deps = list[tuple[Dependency, State]]


def decide() -> tuple[list[Decision], list[str]]:
    """(a Decision for each stage of the graph, the stages that dvc.lock has and the graph has not).

    Raises Problems where DVC cannot read the graph, or another DVC process holds its lock.
    """
    from commands.builds.dvc import DvcException, LockError, Repo
    from commands.builds.git import one_line

    lock = read_lock(None) if Path("dvc.lock").exists() else {}
    try:
        with contextlib.closing(Repo()) as repo, repo.lock:
            return decide_all(repo, lock)
    except LockError:
        hint = "wait until it ends, then tilth plan"
        raise Problems([Problem("dvc", "another DVC process is running here", "no running build", hint)]) from None
    except DvcException as error:
        hint = "dvc status says more; tilth check and tilth ledger need no DVC"
        raise Problems([Problem("dvc", one_line(error), "a project that DVC can read", hint)]) from None


def decide_all(repo: "Repo", lock: dict[str, Stage]) -> tuple[list[Decision], list[str]]:
    from commands.builds import dvc

    future = FutureWorkspace(repo, lock)
    decisions = [future.decide(stage) if stage.cmd else decide_tracked(stage) for stage in dvc.stages_in_order(repo)]
    names = {decision.stage for decision in decisions}
    return decisions, [name for name in lock if name not in names]


def decide_tracked(stage: "DvcStage") -> Decision:
    """The Decision for data of `dvc add`: DVC records its new hash and runs nothing."""
    why = changed_outputs(stage)
    return Decision(stage.addressing, RECORDED if why else UNCHANGED, why)


def changed_outputs(stage: "DvcStage") -> list[Difference]:
    """The outputs of a stage that are missing or changed since it wrote them."""
    return [Difference("output", path, new=status) for out in stage.outs for path, status in out.status().items()]


class FutureWorkspace:
    """The workspace after the stages decided so far. states: {path: State} of the outputs of stages that do not stay unchanged."""

    def __init__(self, repo: "Repo", lock: dict[str, Stage]) -> None:
        self.repo, self.lock = repo, lock
        self.states: dict[str, State] = {}

    def decide(self, stage: "DvcStage") -> Decision:
        """The Decision for a stage. Adds its outputs to `states`."""
        name, locked = stage.addressing, self.lock.get(stage.addressing)
        deps = [(dep, self.dep_state(dep)) for dep in stage.deps] if not stage.frozen else []
        why = self.certain_changes(stage, locked, deps)
        if not why and all(state.verdict == SAME for _, state in deps):
            return Decision(name, UNCHANGED)
        verdict, entry = self.verdict_of(stage, locked, deps, why)
        if verdict == MAY_RUN:
            unknown = [dep.def_path for dep, state in deps if state.verdict == UNKNOWN]
            why += [Difference("cache")] if why else []
            why += [Difference("unknown", new=unknown)] if unknown else []
        self.add_outputs(stage, verdict, entry, {dep.def_path: state for dep, state in deps})
        return Decision(name, verdict, why)

    def verdict_of(
        self, stage: "DvcStage", locked: Stage | None, deps: "Deps", why: list[Difference]
    ) -> tuple[str, Stage | None]:
        """(the verdict on a stage that does not stay unchanged, the record that restores it or None)."""
        if not why:
            return MAY_RUN, None
        if any(state.hash is None for _, state in deps):
            return MAY_RUN if self.may_be_cached(stage, deps) else RUNS, None
        entry = self.restoring_record(stage, deps, locked, why)
        return RESTORED if entry else RUNS, entry

    def certain_changes(self, stage: "DvcStage", locked: Stage | None, deps: "Deps") -> list[Difference]:
        """The certain changes, independent of the unknown outputs of earlier stages."""
        if locked is None:
            return [Difference("new")]
        why = cmd_differences(locked, cast(str, stage.cmd))
        why += [Difference("always")] if stage.always_changed else []
        for dep, state in deps:
            if state.verdict == CHANGED:
                why += dep_differences(dep, state, locked)
        return why + changed_outputs(stage)

    # -- inputs -------------------------------------------------------------------------------------------------------

    def dep_state(self, dep: "Dependency") -> State:
        """The State of a dependency when the stage runs, compared with dvc.lock."""
        from commands.builds import dvc

        path = dep.def_path
        if dvc.is_params(dep):
            now = dep.get_hash().value
            return State(CHANGED if param_differences(path, locked_hash(dep) or {}, now) else SAME, now)
        if path in self.states:
            return self.compare_with_lock(dep, self.states[path])
        folders = [out for out in self.states if path.startswith(f"{out}/")]
        if folders:
            return self.compare_with_lock(dep, self.state_inside(folders[0], path))
        inner = {out: state for out, state in self.states.items() if out.startswith(f"{path}/")}
        if any(state.hash is None for state in inner.values()):
            return State(UNKNOWN)
        if not dep.exists and not inner:
            return State(CHANGED, None)
        why = next(
            (state.why for state in inner.values() if state.verdict == CHANGED and state.why),
            "some of its files come from the cache" if inner else "",
        )
        return self.compare_with_lock(dep, State(UNKNOWN, hash_with_files(dep, inner), why=why))

    def compare_with_lock(self, dep: "Dependency", state: State) -> State:
        """A State with its verdict: SAME where its hash is the one in dvc.lock."""
        if state.hash is None:
            return state
        return State(SAME if state.hash == locked_hash(dep) else CHANGED, state.hash, why=state.why)

    def state_inside(self, out: str, path: str) -> State:
        """The State of a file inside an output folder."""
        from commands.builds.build import folder_listing

        state = self.states[out]
        files = folder_listing(state.hash) if state.hash else None
        if not files or path[len(out) + 1 :] not in files:
            return State(UNKNOWN)
        return State(UNKNOWN, files[path[len(out) + 1 :]], why=state.why)

    # -- outputs ------------------------------------------------------------------------------------------------------

    def add_outputs(self, stage: "DvcStage", verdict: str, entry: Stage | None, deps: dict[str, State]) -> None:
        """Add the outputs of a decided stage to `states`."""
        if verdict == RESTORED and entry:
            why = "another version, from the cache"
            self.states |= {path: State(UNKNOWN, out.md5, why=why) for path, out in entry.outs.items()}
            return
        self.states |= {out.def_path: State(UNKNOWN) for out in stage.outs}
        last = partial(last_hash, {out.def_path: out.hash_info.value for out in stage.outs if out.hash_info})
        for path, state in forecast_outputs(stage.addressing, deps, self.states, last).items():
            if state.verdict == SAME:
                state.hash = last(path)
            if state.hash or state.verdict != SAME:
                self.states[path] = state

    # -- the run cache ------------------------------------------------------------------------------------------------

    def restoring_record(
        self, stage: "DvcStage", deps: "Deps", locked: Stage | None, why: list[Difference]
    ) -> Stage | None:
        """The record from which DVC would restore the outputs of a stage; None where DVC would run the stage."""
        from commands.builds import dvc

        if all(reason.what == "output" for reason in why):
            entry = locked
        elif any(out.persist for out in stage.outs):
            return None  # DVC keeps no records of such a stage
        else:
            record = dvc.run_record(self.repo, stage, {dep.def_path: state.hash for dep, state in deps})
            entry = parse_stage(stage.addressing, record) if record else None
        return entry if entry and self.has_outputs(entry, stage) else None

    def has_outputs(self, entry: Stage, stage: "DvcStage") -> bool:
        """True where the cache has every output of a record."""
        from commands.builds import dvc

        return dvc.has_outputs(self.repo, stage, entry.entry())

    def may_be_cached(self, stage: "DvcStage", deps: "Deps") -> bool:
        """True where a record of the run cache fits the known inputs of a stage."""
        return any(
            record.cmd == stage.cmd
            and all(record_fits(dep, state, record) for dep, state in deps)
            and self.has_outputs(record, stage)
            for record in self.records
        )

    @cached_property
    def records(self) -> list[Stage]:
        """Every record of the run cache."""
        return list(cached_runs())


def locked_hash(dep: "Dependency") -> Any:
    """What dvc.lock has of a dependency: an md5, or {key: value} of parameters."""
    return dep.hash_info.value if dep.hash_info else None


def dep_differences(dep: "Dependency", state: State, locked: Stage) -> list[Difference]:
    """The Differences of a changed dependency, which make its stage run."""
    from commands.builds import dvc

    path = dep.def_path
    if dvc.is_params(dep):
        return param_differences(path, locked.params.get(path, {}), state.hash)
    now = None
    if dep.exists or state.why:
        now = DepState(state.hash, sum(map(size, files_of_source(path))), origin=state.why)
    return [Difference("code" if is_code(path) else "dep", path, old=locked.deps.get(normpath(path)), new=now)]


def record_fits(dep: "Dependency", state: State, record: Stage) -> bool:
    """True where a dependency, as far as it is known, is the one in a record."""
    from commands.builds import dvc

    if dvc.is_params(dep):
        return record.params.get(dep.def_path, {}) == state.hash
    file = record.deps.get(normpath(dep.def_path))
    md5 = file.md5 if file else None
    return md5 == state.hash if state.hash else md5 is not None and state.fits(md5)


def last_hash(outs: dict[str, str | None], path: str) -> str | None:
    """The hash of an output, or of a file in one, in the last build; None where there is none. outs: {path: hash}."""
    from commands.builds.build import folder_listing

    if path in outs:
        return outs[path]
    folder, _, name = path.rpartition("/")
    md5 = outs.get(folder)
    return (folder_listing(md5) or {}).get(name) if md5 else None


def hash_with_files(dep: "Dependency", states: dict[str, State]) -> str | None:
    """The hash of a dependency in the workspace, with the files of `states` ({path: State}) in place of its own."""
    from commands.builds import dvc

    if not states:
        return dep.get_hash().value
    files = dvc.hashes_of_dep(dep) if dep.exists else {}
    return folder_md5(files | {path[len(dep.def_path) + 1 :]: state.hash for path, state in states.items()})
