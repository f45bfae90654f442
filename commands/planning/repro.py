"""What `dvc repro` would do with each stage, found without running anything.

    decide() -> [Decision(stage="train@sft", verdict=RUNS, why=[...]), ...] in the order in which DVC would take them

Stages are gone through as DVC does it, over the workspace as it would be by then: outputs of a stage that is restored have
the hashes of the cache, those of a stage that runs are unknown, unless `commands/planning/forecast.py` knows better. Hashes, keys of
the run cache and the order are DVC's own (`commands/builds/dvc.py`); what differs is told as for lineage and verify.
"""

import contextlib
from functools import cached_property, partial
from pathlib import Path
from posixpath import normpath

from commands.builds.differences import DepState, Difference, cmd_differences, is_code, param_differences
from commands.builds.hashes import size
from commands.builds.lock import cached_runs, parse_stage, read_lock
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


def decide():
    """A Decision for each stage of the graph, and the names of stages that dvc.lock has and the graph has not.

    Raises Problems where DVC cannot read the graph, or another DVC is at work.
    """
    from commands.builds.dvc import DvcException, LockError, Repo
    from commands.builds.git import one_line

    lock = read_lock(None) if Path("dvc.lock").exists() else {}
    try:
        with contextlib.closing(Repo()) as repo, repo.lock:
            return decide_all(repo, lock)
    except LockError:
        hint = "tilth plan when it is done"
        raise Problems([Problem("dvc", "another DVC is at work here", "no build under way", hint)]) from None
    except DvcException as error:
        hint = "dvc status says more; tilth check and tilth ledger need no DVC"
        raise Problems([Problem("dvc", one_line(error), "a project that DVC can read", hint)]) from None


def decide_all(repo, lock):
    ahead = FutureWorkspace(repo, lock)
    decisions = [ahead.decide(stage) if stage.cmd else decide_tracked(stage) for stage in _dvc().in_order(repo)]
    names = {decision.stage for decision in decisions}
    return decisions, [name for name in lock if name not in names]


def decide_tracked(stage):
    """Data of `dvc add`: DVC takes down its new hash, and runs nothing."""
    why = changed_outputs(stage)
    return Decision(stage.addressing, RECORDED if why else UNCHANGED, why)


def changed_outputs(stage):
    """The outputs of a stage that are not there, or not as it left them."""
    return [Difference("output", path, new=status) for out in stage.outs for path, status in out.status().items()]


class FutureWorkspace:
    """The workspace as it will be after the stages decided on so far. states: {path: State} of what will not stay as it is."""

    def __init__(self, repo, lock):
        self.repo, self.lock, self.states = repo, lock, {}

    def decide(self, stage):
        """What becomes of a stage; its outputs are in `states` from then on."""
        name, locked = stage.addressing, self.lock.get(stage.addressing)
        deps = [(dep, self.state(dep)) for dep in stage.deps] if not stage.frozen else []
        why = self.reasons(stage, locked, deps)
        if not why and all(state.verdict == SAME for _, state in deps):
            return Decision(name, UNCHANGED)
        verdict, entry = self.verdict(stage, locked, deps, why)
        if verdict == MAY_RUN:
            unknown = [dep.def_path for dep, state in deps if state.verdict == UNKNOWN]
            why += [Difference("cache")] if why else []
            why += [Difference("unknown", new=unknown)] if unknown else []
        self.after(stage, verdict, entry, {dep.def_path: state for dep, state in deps})
        return Decision(name, verdict, why)

    def verdict(self, stage, locked, deps, why):
        """(what becomes of a stage that does not stay as it is, the record from which it is restored)."""
        if not why:
            return MAY_RUN, None
        if any(state.hash is None for _, state in deps):
            return MAY_RUN if self.cached_perhaps(stage, deps) else RUNS, None
        entry = self.cached(stage, deps, locked, why)
        return RESTORED if entry else RUNS, entry

    def reasons(self, stage, locked, deps):
        """What has certainly changed, whatever comes of the stages before."""
        if locked is None:
            return [Difference("new")]
        why = cmd_differences(locked, stage.cmd)
        why += [Difference("always")] if stage.always_changed else []
        for dep, state in deps:
            if state.verdict == CHANGED:
                why += dep_differences(dep, state, locked)
        return why + changed_outputs(stage)

    # -- inputs -------------------------------------------------------------------------------------------------------

    def state(self, dep):
        """A dependency as the stage will find it, beside what dvc.lock says of it."""
        path = dep.def_path
        if _dvc().is_params(dep):
            now = dep.get_hash().value
            return State(CHANGED if param_differences(path, dep.hash_info.value or {}, now) else SAME, now)
        if path in self.states:
            return self.compared(dep, self.states[path])
        around = [out for out in self.states if path.startswith(f"{out}/")]
        if around:
            return self.compared(dep, self.inside(around[0], path))
        within = {out: state for out, state in self.states.items() if out.startswith(f"{path}/")}
        if any(state.hash is None for state in within.values()):
            return State(UNKNOWN)
        if not dep.exists and not within:
            return State(CHANGED, None)
        why = next(
            (state.why for state in within.values() if state.verdict == CHANGED and state.why),
            "files of it come from the cache" if within else "",
        )
        return self.compared(dep, State(UNKNOWN, hash_with_files(dep, within), why=why))

    def compared(self, dep, state):
        """A state, with whether it is what dvc.lock has of the dependency."""
        if state.hash is None:
            return state
        return State(SAME if state.hash == dep.hash_info.value else CHANGED, state.hash, why=state.why)

    def inside(self, out, path):
        """A file in a folder that is an output."""
        from commands.builds.build import folder_listing

        state = self.states[out]
        files = folder_listing(state.hash) if state.hash else None
        if not files or path[len(out) + 1 :] not in files:
            return State(UNKNOWN)
        return State(UNKNOWN, files[path[len(out) + 1 :]], why=state.why)

    # -- outputs ------------------------------------------------------------------------------------------------------

    def after(self, stage, verdict, entry, deps):
        """Put down what the outputs of a stage will be."""
        if verdict == RESTORED:
            why = "another, from the cache"
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

    def cached(self, stage, deps, locked, why):
        """The record from which DVC would restore the outputs of a stage, None where it would run it."""
        if all(reason.what == "output" for reason in why):
            entry = locked
        elif any(out.persist for out in stage.outs):
            return None  # DVC keeps no records of such a stage
        else:
            record = _dvc().run_record(self.repo, stage, {dep.def_path: state.hash for dep, state in deps})
            entry = record and parse_stage(stage.addressing, record)
        return entry if entry and self.has_outputs(entry, stage) else None

    def has_outputs(self, entry, stage):
        """Whether the cache has every output of a record."""
        return _dvc().has_outputs(self.repo, stage, entry.entry())

    def cached_perhaps(self, stage, deps):
        """Whether the run cache has a record that fits all that is known of the inputs of a stage."""
        return any(
            record.cmd == stage.cmd
            and all(record_fits(dep, state, record) for dep, state in deps)
            and self.has_outputs(record, stage)
            for record in self.records
        )

    @cached_property
    def records(self):
        """Every record of the run cache."""
        return list(cached_runs())


def _dvc():
    from commands.builds import dvc

    return dvc


def dep_differences(dep, state, locked):
    """Why a dependency makes its stage run."""
    path = dep.def_path
    if _dvc().is_params(dep):
        return param_differences(path, locked.params.get(path, {}), state.hash)
    now = None
    if dep.exists or state.why:
        now = DepState(state.hash, sum(map(size, files_of_source(path))), origin=state.why)
    return [Difference("code" if is_code(path) else "dep", path, old=locked.deps.get(normpath(path)), new=now)]


def record_fits(dep, state, record):
    """Whether a dependency, as far as it is known, is the one of a record."""
    if _dvc().is_params(dep):
        return record.params.get(dep.def_path, {}) == state.hash
    file = record.deps.get(normpath(dep.def_path))
    md5 = file and file.md5
    return md5 == state.hash if state.hash else md5 is not None and state.fits(md5)


def last_hash(outs, path):
    """The hash of an output, or of a file in one, as the last build left it; None where there is none. outs: {path: hash}."""
    from commands.builds.build import folder_listing

    if path in outs:
        return outs[path]
    folder, _, name = path.rpartition("/")
    return (folder_listing(outs[folder]) or {}).get(name) if folder in outs else None


def hash_with_files(dep, states):
    """The hash of a dependency in the workspace, with the files of `states` ({path: State}) in their places."""
    if not states:
        return dep.get_hash().value
    files = _dvc().files_of(dep) if dep.exists else {}
    return folder_md5(files | {path[len(dep.def_path) + 1 :]: state.hash for path, state in states.items()})
