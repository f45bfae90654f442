"""What dvc.lock says, held against the bytes, against dvc.yaml and params.yaml, and against itself.

Each check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

import json
import shlex
from pathlib import Path
from posixpath import normpath

from commands.builds.build import listed, object_of
from commands.builds.hashes import folder_md5, md5, md5s, size
from validators.problems import Problem

LOCK = "dvc.lock"
RESTORE = "dvc checkout --force brings back what was built; dvc repro builds it anew"


# -- every output's bytes against the lock ------------------------------------------------------------------------


def outputs(evidence):
    """The bytes of every output of the lock: files changed, missing and extra are named."""
    problems, outs = [], evidence.build.outs
    for path, entry in outs.items():
        if not evidence.absent_in(path):
            problems += differing(entry, evidence.listing(path), evidence.md5s, RESTORE)
    problems += [
        Problem(
            file, "no stage built it", "no such file", "delete or move it; tilth prune, if its dataset or step is gone"
        )
        for file in evidence.strangers
    ]
    there = [path for path in outs if not evidence.absent_in(path)]
    files = [file for path in there for file in evidence.listing(path)]
    return {"files": len(files), "outputs": len(there), "bytes": sum(map(size, files))}, problems


def differing(entry, files, hashes, hint):
    """What differs between an entry (path, md5, size, nfiles) of a lock or .dvc file and the files that are there."""
    path, wanted = entry["path"], str(entry.get("md5", "no md5"))
    if wanted.endswith(".dir"):
        listing = {file[len(path) + 1 :]: hashes.get(file) for file in files if file != path}
        found = folder_md5(listing) if None not in listing.values() else None
        if found != wanted:
            return differing_files(path, wanted, found, listing, hint) if files else [missing(path, hint)]
    elif files != [path]:
        return [missing(path, hint)]
    elif hashes.get(path) != wanted:
        return [Problem(path, f"its bytes hash to {hashes.get(path)}", wanted, mending(path, wanted, hint))]
    counts = {"size": sum(map(size, files))} | ({"nfiles": len(files)} if wanted.endswith(".dir") else {})
    return [
        Problem(f"{path}: {key}", f"its entry says {entry[key]}", str(count), "the entry was edited: dvc commit")
        for key, count in counts.items()
        if str(entry.get(key, count)) != str(count)
    ]


def differing_files(path, wanted, found, listing, hint):
    """The files of a folder that are not as built, from the cache's list of it, if that is what it should be."""
    built = listed(wanted) if Path(object_of(wanted)).is_file() else None
    if built is None or folder_md5(built) != wanted:
        return [Problem(path, f"its files hash to {found}", wanted, f"{hint}; no list of its files is in the cache")]
    problems = [missing(f"{path}/{name}", hint) for name in sorted(built.keys() - listing.keys())]
    for name, found_md5 in sorted(listing.items()):
        if name not in built:
            problems.append(Problem(f"{path}/{name}", "no stage built it", "no such file", "delete or move it"))
        elif found_md5 != built[name]:
            how = mending(f"{path}/{name}", built[name], hint)
            problems.append(Problem(f"{path}/{name}", f"its bytes hash to {found_md5}", built[name], how))
    return problems


def mending(path, wanted, hint):
    """How a file comes back as it was built: DVC would restore an object of the cache that is damaged, as it is."""
    place = object_of(wanted)
    if md5(place) in (None, wanted):
        return hint
    return f"{shlex.join(['rm', str(place), path])}, as that object is damaged; tilth fetch, if it was shared; {hint}"


def missing(path, hint):
    return Problem(path, "is missing", "what was built", hint)


def cached(evidence):
    """The objects of the cache, which `dvc checkout` and every past build depend on."""
    problems, objects = [], {}
    for path, entry in evidence.build.outs.items():
        if path not in evidence.uncached and entry.get("md5"):
            objects[str(entry["md5"])] = path
            if str(entry["md5"]).endswith(".dir"):
                objects |= {md5: f"{path}/{name}" for name, md5 in (listed(entry["md5"]) or {}).items()}
    hashes = md5s([object_of(md5).as_posix() for md5 in objects])
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


# -- the lock against dvc.yaml, params.yaml and itself ------------------------------------------------------------


def lock(evidence):
    """Every stage as dvc.yaml and params.yaml ask for it, from what is there and what the other stages made."""
    stages, graph = evidence.build.stages, evidence.graph
    problems = [
        Problem(f"{LOCK}: {name}", "is not there", "every stage that dvc.yaml and params.yaml ask for", "dvc repro")
        for name in graph
        if name not in stages
    ]
    for name in stages:
        if name in graph:
            problems += other_shape(name, stages[name], graph[name])
        else:
            hint = "tilth prune --dry-run shows what is left of it"
            problems.append(Problem(f"{LOCK}: {name}", "dvc.yaml and params.yaml ask for no such stage", "", hint))
    kept = {name: stage for name, stage in stages.items() if name in graph}
    counts, stale = dependencies(evidence, kept)
    return {"stages": len(stages)} | counts, problems + stale + other_params(evidence.build.params, kept, graph)


def other_shape(name, stage, wanted):
    """Where the command of a stage, or the names of what goes in and out, are not those of dvc.yaml."""
    problems = []
    if stage.get("cmd") != wanted["cmd"]:
        problems.append(Problem(f"{LOCK}: {name}: cmd", f"{stage.get('cmd')!r}", repr(wanted["cmd"]), "dvc repro"))
    for key in ("deps", "outs"):
        here = {normpath(entry["path"]) for entry in stage.get(key) or []}
        for path in sorted(here ^ wanted[key]):
            found, expected = ("is there", "none") if path in here else ("is not there", "as dvc.yaml says")
            problems.append(Problem(f"{LOCK}: {name}: {key}: {path}", found, expected, "dvc repro"))
    return problems


def dependencies(evidence, stages):
    """Each dependency's hash: that of the output which another stage made, or that of the bytes that are there."""
    stale, count, made = {}, 0, 0
    for name, stage in stages.items():
        for entry in stage.get("deps") or []:
            path = normpath(entry["path"])
            count, made = count + 1, made + (path in evidence.build.outs)
            wanted, why = expected(evidence, path)
            if wanted is not None and entry.get("md5") != wanted:
                stale.setdefault((path, entry.get("md5"), wanted, why), []).append(name)
    return {"deps": count, "made": made}, [
        Problem(f"{LOCK}: {path}", f"{', '.join(names)} ran on {found}", f"{wanted}, {why}", "dvc repro")
        for (path, found, wanted, why), names in stale.items()
    ]


def expected(evidence, path):
    """(md5, why) that a dependency should have; (None, "") where its bytes are not there to say."""
    outs = evidence.build.outs
    if path in outs:
        return outs[path].get("md5"), f"what {outs[path]['stage']} made"
    if any(out.startswith(f"{path}/") for out in outs):
        return folder_md5(made_in(evidence, path)), "the list of what stages made there"
    files = evidence.sources.get(path, [path])
    if evidence.absent_in(path):
        return None, ""
    if files == [path]:
        return evidence.md5s.get(path) or md5(path) or "nothing", "its bytes now"
    listing = {file[len(path) + 1 :]: evidence.md5s[file] for file in files}
    return (folder_md5(listing) if files else "nothing"), "its files now"


def made_in(evidence, folder):
    """{relative path: md5} of a folder that stages fill side by side."""
    made = {}
    for out, entry in evidence.build.outs.items():
        if out.startswith(f"{folder}/"):
            whole = str(entry.get("md5")).endswith(".dir")
            made |= {file: evidence.md5s[file] for file in evidence.listing(out)} if whole else {out: entry.get("md5")}
    return {path[len(folder) + 1 :]: md5 for path, md5 in made.items()}


def other_params(params, stages, graph):
    """Where the lock's parameters are not those of params.yaml."""
    differing = {}
    for name, stage in stages.items():
        wanted = graph[name]["params"].get("params.yaml", set())
        locked = (stage.get("params") or {}).get("params.yaml") or {}
        now = params if wanted is None else {key: value_of(params, key) for key in wanted}
        for place, found, expected in leaves(locked, now):
            differing.setdefault((place, found, expected), []).append(name)
    return [
        Problem(
            f"{LOCK}: params: {place}",
            f"{', '.join(names)} ran with {found}",
            f"{expected}, as in params.yaml",
            "dvc repro",
        )
        for (place, found, expected), names in differing.items()
    ]


def value_of(params, key):
    """The value under a name with dots, None where there is none."""
    for part in key.split("."):
        params = params.get(part) if isinstance(params, dict) else None
    return params


def leaves(found, wanted, place=""):
    """(place, found, wanted) as text, where two values differ, as deep in as both are mappings."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*found, *wanted]):
            if key in found and key in wanted:
                yield from leaves(found[key], wanted[key], f"{place}.{key}".lstrip("."))
            else:
                yield (f"{place}.{key}".lstrip("."), *(text(value.get(key, "nothing")) for value in (found, wanted)))
    elif found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
        yield place, text(found), text(wanted)


def text(value):
    return value if value == "nothing" else json.dumps(value, default=str)
