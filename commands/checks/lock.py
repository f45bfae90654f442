"""Compare dvc.lock with the bytes, with dvc.yaml and params.yaml, and with itself.

`commands/builds/differences.py` decides what is stale. This module reads all bytes for it.

Each check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from commands.builds.build import folder_listing, object_of
from commands.builds.differences import ABSENT, DepState, Difference, cmd_differences, differences, known_dep_states
from commands.builds.dvc_yaml import StageSpec
from commands.builds.evidence import Evidence, Verdict
from commands.builds.hashes import hash_files, size
from commands.builds.lock import File, Stage
from stages.core.hashes import folder_md5, md5
from validators.problems import Problem, Problems

LOCK = "dvc.lock"
RESTORE_HINT = "dvc checkout --force brings back what was built; dvc repro builds it anew"


# -- the bytes of outputs -----------------------------------------------------------------------------------------


def outputs(evidence: Evidence) -> Verdict:
    """Every output has the bytes of the lock. Names files that changed, are missing, or are extra."""
    gone = leftover_stages(evidence)
    problems, outs = [], {path: out for path, out in evidence.build.outs.items() if out.stage not in gone}
    for path, out in outs.items():
        if not evidence.absent_in(path):
            problems += output_problems(out, evidence.listing(path), evidence.md5s, RESTORE_HINT)
    problems += [
        # `tilth prune` leaves it alone: it is not in dvc.lock
        Problem(file, "no stage built it", "no such file", "delete or move it")
        for file in evidence.unknown_files
    ]
    there = [path for path in outs if not evidence.absent_in(path)]
    files = [file for path in there for file in evidence.listing(path)]
    return {"files": len(files), "outputs": len(there), "bytes": sum(map(size, files))}, problems


def leftover_stages(evidence: Evidence) -> set[str]:
    """The stages of dvc.lock that dvc.yaml and params.yaml no longer ask for: of removed datasets and steps.

    The check `lock` names them. No check names their outputs: `collect` deletes some, and nothing restores them.
    """
    try:
        graph = evidence.graph
    except Problems:  # the check `lock` reports it
        return set()
    return {name for name in evidence.build.stages if name not in graph}


def output_problems(out: File, files: list[str], hashes: Mapping[str, str | None], hint: str) -> list[Problem]:
    """Where the files at a path differ from its entry in a lock or .dvc file."""
    path, wanted = out.path, out.md5 or "no md5"
    if wanted.endswith(".dir"):
        listing = {file[len(path) + 1 :]: hashes.get(file) for file in files if file != path}
        found = folder_md5(listing) if None not in listing.values() else None
        if found != wanted:
            return folder_problems(path, wanted, found, listing, hint) if files else [missing_problem(path, hint)]
    elif files != [path]:
        return [missing_problem(path, hint)]
    elif hashes.get(path) != wanted:
        return [Problem(path, f"its bytes hash to {hashes.get(path)}", wanted, restore_hint(path, wanted, hint))]
    counts = {"size": sum(map(size, files))} | ({"nfiles": len(files)} if wanted.endswith(".dir") else {})
    return [
        Problem(f"{path}: {key}", f"its entry says {getattr(out, key)}", str(count), "the entry was edited: dvc commit")
        for key, count in counts.items()
        if getattr(out, key) is not None and str(getattr(out, key)) != str(count)
    ]


def folder_problems(
    path: str, wanted: str, found: str | None, listing: Mapping[str, str | None], hint: str
) -> list[Problem]:
    """The files of a folder that differ from what was built, by the list in the cache, if the cache has it whole."""
    built = folder_listing(wanted) if Path(object_of(wanted)).is_file() else None
    if built is None or folder_md5(built) != wanted:
        return [Problem(path, f"its files hash to {found}", wanted, f"{hint}; no list of its files is in the cache")]
    problems = [missing_problem(f"{path}/{name}", hint) for name in sorted(built.keys() - listing.keys())]
    for name, found_md5 in sorted(listing.items()):
        if name not in built:
            problems.append(Problem(f"{path}/{name}", "no stage built it", "no such file", "delete or move it"))
        elif found_md5 != built[name]:
            how = restore_hint(f"{path}/{name}", built[name], hint)
            problems.append(Problem(f"{path}/{name}", f"its bytes hash to {found_md5}", built[name], how))
    return problems


def restore_hint(path: str, wanted: str, hint: str) -> str:
    """The commands that restore a file. A damaged object is removed first: DVC would restore it as it is."""
    place = object_of(wanted)
    if md5(place) in (None, wanted):
        return hint
    return f"{shlex.join(['rm', str(place), path])}, as that object is damaged; tilth fetch, if it was shared; {hint}"


def missing_problem(path: str, hint: str) -> Problem:
    return Problem(path, "is missing", "what was built", hint)


def cached(evidence: Evidence) -> Verdict:
    """Every object of the cache has the bytes of its name: `dvc checkout` and past builds depend on it."""
    problems, objects = [], {}
    gone = leftover_stages(evidence)
    for path, out in evidence.build.outs.items():
        if path not in evidence.uncached and out.md5 and out.stage not in gone:
            objects[out.md5] = path
            if out.md5.endswith(".dir"):
                objects |= {md5: f"{path}/{name}" for name, md5 in (folder_listing(out.md5) or {}).items()}
    hashes = hash_files([object_of(md5).as_posix() for md5 in objects])
    for wanted, path in objects.items():
        place = object_of(wanted)
        found = hashes[place.as_posix()]
        if found is None:
            hint = "dvc commit, if the working tree has it as it was built; or dvc fetch"
            problems.append(Problem(f"cache of {path}", "is missing", str(place), hint))
        elif found != wanted.removesuffix(".dir"):
            hint = f"rm {place}, then dvc commit or dvc fetch"
            problems.append(Problem(f"cache of {path}", f"{place} hashes to {found}", wanted, hint))
    return {"objects": len(objects)}, problems


# -- dvc.yaml, params.yaml and the lock itself --------------------------------------------------------------------


def lock(evidence: Evidence) -> Verdict:
    """Every stage is as in dvc.yaml and params.yaml, and ran on what is there and what other stages made."""
    stages, graph = evidence.build.stages, evidence.graph
    problems = [
        Problem(f"{LOCK}: {name}", "is not there", "every stage that dvc.yaml and params.yaml ask for", "dvc repro")
        for name in graph
        if name not in stages
    ]
    for name in (name for name in stages if name in graph):
        problems += shape_problems(name, stages[name], graph[name])
    subjects = {}
    for name in stages:
        if name not in graph:
            subjects.setdefault(stages[name].subject, []).append(name)
    for subject, names in subjects.items():
        found = f"{', '.join(names)}: dvc.yaml and params.yaml no longer ask for {'it' if len(names) == 1 else 'them'}"
        hint = "tilth prune removes what is left of it; --dry-run shows what"
        problems.append(Problem(f"{LOCK}: {subject or names[0]}", found, "", hint))
    found = differences(evidence.build, dep_states_by_bytes(evidence), graph)
    problems += dep_problems(found) + param_problems(found)
    deps = [path for name in found for path in stages[name].deps]
    made = [path for path in deps if path in evidence.build.outs]
    return {"stages": len(stages), "deps": len(deps), "made": len(made)}, problems


def shape_problems(name: str, stage: Stage, wanted: StageSpec) -> list[Problem]:
    """Where the command, dependencies or outputs of a stage are not those of dvc.yaml."""
    problems = [
        Problem(f"{LOCK}: {name}: cmd", f"{found.old!r}", repr(found.new), "dvc repro")
        for found in cmd_differences(stage, wanted["cmd"])
    ]
    for key in ("deps", "outs"):
        here = set(getattr(stage, key))
        for path in sorted(here ^ wanted[key]):
            found, expected = ("is there", "none") if path in here else ("is not there", "as dvc.yaml says")
            problems.append(Problem(f"{LOCK}: {name}: {key}: {path}", found, expected, "dvc repro"))
    return problems


def dep_problems(found: Mapping[str, list[Difference]]) -> list[Problem]:
    """Dependencies whose hash differs from the output that another stage made, or from the bytes that are there."""
    stale = {}
    for name, items in found.items():
        for each in items:
            if each.what in ("dep", "code"):
                stale.setdefault((each.path, each.old.md5, each.new), []).append(name)
    return [
        Problem(
            f"{LOCK}: {path}", f"{', '.join(names)} ran on {md5}", f"{now.md5 or 'nothing'}, {now.origin}", "dvc repro"
        )
        for (path, md5, now), names in stale.items()
    ]


def param_problems(found: Mapping[str, list[Difference]]) -> list[Problem]:
    """Parameters that differ between the lock and params.yaml."""
    stale = {}
    for name, items in found.items():
        for each in items:
            if each.what == "param":
                # without a key: no copy of the old params is left
                sides = (
                    value_as_text(each.old) if each.key else "another",
                    f"{value_as_text(each.new)}, as in {each.path}" if each.key else "what it says now",
                )
                stale.setdefault((each.key, *sides), []).append(name)
    return [
        Problem(f"{LOCK}: params: {key or 'params.yaml'}", f"{', '.join(names)} ran with {old}", new, "dvc repro")
        for (key, old, new), names in stale.items()
    ]


def value_as_text(value: object) -> str:
    return "nothing" if value is ABSENT else json.dumps(value, default=str)


# -- dependencies by their bytes ----------------------------------------------------------------------------------


def dep_states_by_bytes(evidence: Evidence) -> dict[str, DepState]:
    """{path: DepState} of every dependency of the lock whose bytes are there."""
    sources = {path: state_of_source(evidence, path, files) for path, files in evidence.sources.items()}
    found = known_dep_states(
        evidence.build, sources, lambda out: {file: evidence.md5s[file] for file in evidence.listing(out)}
    )
    return {
        path: now if now.origin else replace(now, origin="its bytes now")
        for path, now in found.items()
        if path in evidence.build.outs or not evidence.absent_in(path)
    }


def state_of_source(evidence: Evidence, path: str, files: list[str]) -> DepState:
    """The DepState of a file or folder that no stage makes."""
    if files == [path]:
        return DepState(evidence.md5s.get(path), origin="its bytes now")
    listing = {file[len(path) + 1 :]: evidence.md5s[file] for file in files}
    return DepState(folder_md5(listing) if files else None, origin="its files now")
