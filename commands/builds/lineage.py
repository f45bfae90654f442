"""What a build is made of, as plain data: each stage of the lock, each dataset's rows, each model's parts.

    facts(at(), datasets=["chat"], steps=["sft"]) -> {"datasets": {...}, "base": {...}, "models": {...}}, problems

Counts come from the metadata and the small columns of the Parquet files, hashes from dvc.lock; `stale` says where the
lock is not what stands in params.yaml and in the files that people wrote.
"""

import json
from collections import Counter
from pathlib import PurePosixPath

from commands.builds.build import chain, file_of
from commands.builds.code import FOLDER, changes_since
from commands.builds.differences import ABSENT, behind, differences, trained_otherwise
from commands.builds.git import Missing
from commands.builds.params import by_name, of_params, ran_with
from commands.builds.row_counts import files_in, flow, ingested, refused_by, rows_in
from commands.builds.sources import Source, data_files, sources_of
from stages.training.kept import kept_path
from stages.training.kept import read as read_kept
from stages.training.seen import seen_in_short, seen_path
from validators._by_file import KEYS, of_file

SHARED = ("collect", "preflight", "collect_scores", "report")
MADE = ", as dvc.lock has what made it"


def facts(build, datasets, steps):
    """(the lineage of some datasets and steps, problems): what has no bytes left is a problem, the rest is answered."""
    problems = []
    found = differences(build)
    stages = {name: stage_facts(build, name, found) for name in build.stages}
    return {
        "revision": build.rev,
        "datasets": {name: dataset(build, name, stages, problems) for name in datasets},
        "base": base(build, stages, problems),
        "models": {name: model(build, name, stages, problems) for name in steps},
        # builds of before these were stages have none
        "shared": [stages[name] for name in ("pin", "judge") if name in stages] + [stages.get(name) or unbuilt(name) for name in SHARED],
    }, problems


def attempt(problems, look, build, path):
    """What a function finds at a path; None where it was never built, which its stage says, or where bytes are missing.

    What is missing is added to the problems.
    """
    if not any(path == out or path.startswith(f"{out}/") for out in build.outs):
        return None
    try:
        return look(build, path)
    except Missing as error:
        problems += [problem for problem in error.problems if problem not in problems]
        return None


def seen(build, path):
    """{rows, seen, times, tokens, sequences} of what a training saw."""
    return seen_in_short(file_of(build, path))


def as_json(build, path):
    """A JSON file of the build."""
    return json.loads(file_of(build, path).read_text(encoding="utf-8"))


# -- stages -------------------------------------------------------------------------------------------------------


def stage_facts(build, name, found):
    """One stage: hashes of what went in by kind, what came out, and what has changed since. found: all differences."""
    stage = build.stages[name]
    deps = {path: dep.md5 for path, dep in stage.deps.items() if not of_params(path)}
    # builds from before there were lists depend on each module
    checking = (f"{FOLDER}/kinds", f"{FOLDER}/rewards", "validators/")
    validators = {path: md5 for path, md5 in deps.items() if path.startswith(checking)}
    code = {p: md5 for p, md5 in deps.items() if p.startswith((f"{FOLDER}/", "stages/")) and p not in validators}
    # what a stage read of the params is told by its values
    told = (each for each in found[name] if each.what != "dep" or not of_params(each.path))
    stale = [line for difference in told for line in words(build, difference)]
    return {
        "stage": name,
        "params": by_name(ran_with(build, name) or {}),
        "code": code,
        "validators": validators,
        "inputs": {path: md5 for path, md5 in deps.items() if path not in code and path not in validators},
        "outputs": {path: out.md5 for path, out in stage.outs.items()},
        "stale": stale + [f"{path}: stale itself" for path in behind(build, name, found)],
    }


def unbuilt(name):
    kinds = ("params", "code", "validators", "inputs", "outputs")
    return {"stage": name} | {kind: {} for kind in kinds} | {"stale": [f"not built: dvc repro {name}"]}


def words(build, difference):
    """Lines for a Difference."""
    what, path, old, new = difference.what, difference.path, difference.old, difference.new
    if what == "code":
        return changes_since(build, path, old.md5)
    if what == "cmd":
        return [f"params.yaml: launch: {old.split(' -m stages')[0]} -> {new.split(' -m stages')[0]}"]
    if what == "dep" and new.md5 == "":
        return [f"{path}: {old.size:,} bytes -> {new.size:,} bytes"]
    if what == "dep":
        return [f"{path}: {short(old.md5)} -> {short(new.md5) if new.md5 else 'not there'}{MADE * new.made}"]
    if what == "param" and not difference.key:
        return [f"{path}: changed since"]
    return [f"{'' if what == 'model' else path + ': '}{difference.key}: {plain(old)} -> {plain(new)}"]


def plain(value):
    text = "nothing" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def short(md5):
    return (md5 or "nothing")[:10]


# -- datasets -----------------------------------------------------------------------------------------------------


def dataset(build, name, stages, problems):
    """From the raw files of a dataset to its two sides, with the rows at each stage."""
    declared = build.datasets[name]
    entries = {
        room: stages.get(f"{room}@{name}") or unbuilt(f"{room}@{name}") for room in ("ingest", "validate", "curate")
    }
    counts = attempt(problems, ingested, build, f"data/ingested/{name}") or {
        "rows": Counter(),
        "records": Counter(),
        "rejected": Counter(),
    }
    refused = attempt(problems, refused_by, build, f"data/rejected/{name}.parquet")
    sides = {side: attempt(problems, rows_in, build, f"data/{side}/{name}.parquet") for side in ("train", "eval")}
    flow(entries, counts, refused, sides)
    return {
        "kind": declared.get("kind"),
        "raw": raw(build, name, entries["ingest"], counts) | {"waived": declared.get("waive") or {}},
        "stages": [*entries.values(), *sorting(build, name, stages, problems, sides["train"])],
        "train": side_of(build, f"data/train/{name}.parquet", sides["train"]),
        "eval": side_of(build, f"data/eval/{name}.parquet", sides["eval"]),
        "trains": [step for step in build.steps if name in datasets_of(build, step)],
    }


def sorting(build, name, stages, problems, rows):
    """The stages that sort the train prompts of a dataset by how hard they are; none where `difficulty` does not ask for it."""
    if name not in (build.params.get("difficulty") or {}):
        return []
    asked, keep = (stages.get(f"{stage}@{name}") or unbuilt(f"{stage}@{name}") for stage in ("difficulty", "keep"))
    found = attempt(problems, rejected_in, build, kept_path(name).as_posix())
    if found is not None:
        keep |= {"in": rows, "out": {"kept": None if rows is None else rows - sum(found.values())}, "rejected": found}
    return [asked, keep]


def rejected_in(build, path):
    """{check: rows} of the prompts that are not kept."""
    return dict(Counter(row["check"] for row in read_kept(file_of(build, path)) if row["check"]))


def raw_path(build, name):
    return PurePosixPath(build.datasets[name]["raw"]).as_posix()


def datasets_of(build, step):
    return [build.steps[one]["dataset"] for one in chain(build, step)]


def side_of(build, path, rows):
    return {"path": path, "rows": rows, "md5": build.md5_of(path)}


def raw(build, name, ingest, counts):
    """The raw files of a dataset with their hashes, their rights and what ingest made of each."""
    path, rights = raw_path(build, name), rights_of(build, name)
    files = data_files(sources_of(build, [path])[path], path)
    seen = {file.path for file in files}
    files += [Source(other, None) for other in sorted(counts["records"]) if other not in seen]
    return {
        "path": path,
        "md5": ingest["inputs"].get(path),
        "files": [
            {"path": file.path, "bytes": file.size, "md5": file.md5, "git": file.git, "read": file.read}
            | {"dvc": file.dvc, "imported": file.imported}
            | {key: of_file(value, file.path, path) for key, value in rights.items()}
            | {what: counts[what][file.path] if counts["records"] else None for what in ("records", "rows", "rejected")}
            for file in files
        ],
    }


def rights_of(build, name):
    """{license, source, consent, expires} of a dataset as params.yaml has them: one for all raw files, or by pattern."""
    declared = build.datasets[name]
    return {key: declared.get(key) for key in KEYS} | {"expires": (build.params.get("expires") or {}).get(name)}


# -- models -------------------------------------------------------------------------------------------------------


def base(build, stages, problems):
    """The base model: where it came from, its bytes, its scores."""
    declared, out = build.params.get("base") or {}, build.outs.get("models/base")
    return {
        "model": declared.get("model"),
        "revision": declared.get("revision"),
        "backend": declared.get("backend"),
        "md5": out and out.md5,
        "bytes": out and out.size,
        "files": attempt(problems, files_in, build, "models/base"),
        "stages": [stages.get(name) or unbuilt(name) for name in ("base", "evaluate_base")],
        "scores": attempt(problems, as_json, build, "scores/base.json"),
    }


def model(build, name, stages, problems):
    """A step's model: the steps behind it, what it was trained from, its adapters in order, its scores."""
    step, out = build.steps[name], build.outs.get(f"models/{name}")
    made = attempt(problems, as_json, build, f"models/{name}/made_of.json") or {}
    files = attempt(problems, files_in, build, f"models/{name}") or {}
    parts = (path.split("/") for path in sorted(files))
    entries = [stages.get(f"{room}@{name}") or unbuilt(f"{room}@{name}") for room in ("train", "evaluate")]
    if made:
        entries[0]["stale"] += [line for each in trained_otherwise(build, name, made) for line in words(build, each)]
    return {
        "chain": ["base", *chain(build, name)],
        "dataset": step.get("dataset"),
        "md5": out and out.md5,
        "bytes": out and out.size,
        "weights": "full" if f"models/{name}/config.json" in files else "adapters",
        "adapters": list(dict.fromkeys(path[3] for path in parts if path[2:3] == ["adapters"])),
        "files": files,
        "made_of": made,
        "seen": attempt(problems, seen, build, seen_path(name).as_posix()),
        "waived": step.get("waive") or {},
        "stages": entries,
        "scores": attempt(problems, as_json, build, f"scores/{name}.json"),
    }
