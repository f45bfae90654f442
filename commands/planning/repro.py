"""What `dvc repro` would do with each stage, found without running anything.

    decide() -> [Decision(stage="train@sft", verdict=RUNS, why=[...]), ...] in the order in which DVC would take them

Stages are gone through as DVC does it, over the workspace as it would be by then: outputs of a stage that is restored have
the hashes of the cache, those of a stage that runs are unknown, unless `commands/planning/forecast.py` knows better. Hashes, keys of
the run cache and the order are DVC's own.
"""

import contextlib
from functools import partial
from pathlib import Path

from commands.planning.forecast import foreseen
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
    hash_of,
)
from validators.problems import Problem, Problems


def decide():
    """A Decision for each stage of the graph, and the names of stages that dvc.lock has and the graph has not.

    Raises Problems where DVC cannot read the graph, or another DVC is at work.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    from commands.builds.build import lock_of, one_line

    lock = lock_of(None) if Path("dvc.lock").exists() else {}
    try:
        with contextlib.closing(Repo()) as repo, repo.lock:
            return gone_through(repo, lock)
    except LockError:
        hint = "tilth plan when it is done"
        raise Problems([Problem("dvc", "another DVC is at work here", "no build under way", hint)]) from None
    except DvcException as error:
        hint = "dvc status says more; tilth check and tilth ledger need no DVC"
        raise Problems([Problem("dvc", one_line(error), "a project that DVC can read", hint)]) from None


def gone_through(repo, lock):
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    ahead = Ahead(repo, lock)
    stages = plan_repro(graph, collect_stages(repo, ["dvc.yaml"]))
    decisions = [ahead.decide(stage) if stage.cmd else recorded(stage) for stage in stages]
    names = {decision.stage for decision in decisions}
    return decisions, [name for name in lock if name not in names]


def recorded(stage):
    """Data of `dvc add`: DVC takes down its new hash, and runs nothing."""
    why = [
        {"what": "output", "path": path, "status": status}
        for out in stage.outs
        for path, status in out.status().items()
    ]
    return Decision(stage.addressing, RECORDED if why else UNCHANGED, why)


class Ahead:
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
            why += [{"what": "cache"}] if why else []
            why += [{"what": "unknown", "paths": unknown}] if unknown else []
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
            return [{"what": "new"}]
        why = []
        if stage.cmd_changed:
            why.append({"what": "command", "old": locked.get("cmd"), "new": stage.cmd})
        for dep, state in deps:
            if state.verdict == CHANGED:
                why.append(changed_dep(dep, state, locked))
        for out in stage.outs:
            why += [{"what": "output", "path": path, "status": status} for path, status in out.status().items()]
        return why

    # -- inputs -------------------------------------------------------------------------------------------------------

    def state(self, dep):
        """A dependency as the stage will find it, beside what dvc.lock says of it."""
        path = dep.def_path
        if is_params(dep):
            changed = dep.status()
            return State(CHANGED if changed else SAME, dep.get_hash())
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
        why = "files of it come from the cache" if within else ""
        return self.compared(dep, State(UNKNOWN, with_files(dep, within), why=why))

    def compared(self, dep, state):
        """A state, with whether it is what dvc.lock has of the dependency."""
        if state.hash is None:
            return state
        return State(SAME if state.hash == dep.hash_info else CHANGED, state.hash, why=state.why)

    def inside(self, out, path):
        """A file in a folder that is an output."""
        from commands.builds.build import listed

        state = self.states[out]
        files = listed(state.hash.value) if state.hash else None
        if not files or path[len(out) + 1 :] not in files:
            return State(UNKNOWN)
        return State(UNKNOWN, hash_of(files[path[len(out) + 1 :]]), why=state.why)

    # -- outputs ------------------------------------------------------------------------------------------------------

    def after(self, stage, verdict, entry, deps):
        """Put down what the outputs of a stage will be."""
        if verdict == RESTORED:
            why = "another, from the cache"
            self.states |= {out["path"]: State(UNKNOWN, hash_of(out["md5"]), why=why) for out in entry["outs"]}
            return
        self.states |= {out.def_path: State(UNKNOWN) for out in stage.outs}
        last = partial(last_hash, {out.def_path: out.hash_info for out in stage.outs if out.hash_info})
        for path, state in foreseen(stage.addressing, deps, self.states, last).items():
            if state.verdict == SAME:
                state.hash = last(path)
            if state.hash or state.verdict != SAME:
                self.states[path] = state

    # -- the run cache ------------------------------------------------------------------------------------------------

    def cached(self, stage, deps, locked, why):
        """The record from which DVC would restore the outputs of a stage, None where it would run it."""
        if all(reason["what"] == "output" for reason in why):
            entry = locked
        elif any(out.persist for out in stage.outs):
            return None  # DVC keeps no records of such a stage
        else:
            for dep, state in deps:
                if dep.exists and not is_params(dep):
                    dep.meta = dep.get_meta()
                dep.hash_info, dep.get_hash = state.hash, lambda state=state: state.hash
            entry = self.repo.stage_cache._load(stage)
        return entry if entry and self.has_outputs(entry, stage) else None

    def has_outputs(self, entry, stage):
        """Whether the cache has every output of a record."""
        outs = entry.get("outs", [])
        return (
            all("md5" in out for out in outs) and self.repo.stage_cache._create_stage(entry, stage.wdir).outs_cached()
        )

    def cached_perhaps(self, stage, deps):
        """Whether the run cache has a record that fits all that is known of the inputs of a stage."""
        return any(
            record.get("cmd") == stage.cmd
            and all(fits(dep, state, record) for dep, state in deps)
            and self.has_outputs(record, stage)
            for record in self.records()
        )

    def records(self):
        """Every record of the run cache; a file that is none, which a killed DVC may leave, is passed over."""
        import yaml

        from commands.builds.build import yaml_1_2

        if not hasattr(self, "run_cache"):
            self.run_cache = []
            for path in Path(self.repo.stage_cache.cache_dir).glob("*/*/*"):
                with contextlib.suppress(yaml.YAMLError, OSError, UnicodeDecodeError):
                    record = yaml.load(path.read_bytes(), Loader=yaml_1_2())
                    self.run_cache += [record] if isinstance(record, dict) else []
        return self.run_cache


def is_params(dep):
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)


def changed_dep(dep, state, locked):
    """Why a dependency makes its stage run, as data."""
    if is_params(dep):
        old, new = locked.get("params", {}).get(dep.def_path, {}), dep.read_params()
        return {"what": "params", "path": dep.def_path, "old": old, "new": new}
    old = next((entry for entry in locked.get("deps", []) if entry["path"] == dep.def_path), None)
    return {"what": "file", "path": dep.def_path, "old": old, "foreseen": state.why, "there": dep.exists}


def fits(dep, state, record):
    """Whether a dependency, as far as it is known, is the one of a record."""
    if is_params(dep):
        return record.get("params", {}).get(dep.def_path, {}) == state.hash.value
    md5 = next((entry.get("md5") for entry in record.get("deps", []) if entry["path"] == dep.def_path), None)
    return md5 == state.hash.value if state.hash else md5 is not None and state.fits(md5)


def last_hash(outs, path):
    """The hash of an output, or of a file in one, as the last build left it; None where there is none. outs: {path: hash}."""
    from commands.builds.build import listed

    if path in outs:
        return outs[path]
    folder, _, name = path.rpartition("/")
    files = listed(outs[folder].value) if folder in outs else None
    return hash_of(files[name]) if files and name in files else None


def with_files(dep, states):
    """The hash of a dependency in the workspace, with the files of `states` ({path: State}) in their places."""
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    if not states:
        return dep.get_hash()
    tree = Tree()
    if dep.exists:
        *_, there = dep._build(dep.local_cache, dep.fs_path, dep.fs, dep.hash_name, ignore=dep.dvcignore, dry_run=True)
        for key, meta, found in there:
            tree.add(key, meta, found)
    for path, state in states.items():
        tree.add(tuple(path[len(dep.def_path) + 1 :].split("/")), Meta(), state.hash)
    tree.digest()
    return tree.hash_info
