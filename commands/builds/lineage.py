"""What a build is made of, as plain data: each stage of the lock, each dataset's rows, each model's parts.

    facts(at(), datasets=["chat"], steps=["sft"]) -> {"datasets": {...}, "base": {...}, "models": {...}}, problems

Counts come from the metadata and the small columns of the Parquet files, hashes from dvc.lock; `stale` says where the
lock is not what stands in params.yaml and in the files that people wrote.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from commands.builds.build import Build, chain, file_of
from commands.builds.code import FOLDER, changes_since
from commands.builds.differences import ABSENT, Difference, behind, differences, trained_otherwise
from commands.builds.facts import (
    BaseFacts,
    DatasetFacts,
    Lineage,
    ModelFacts,
    RawFacts,
    RawFile,
    SideFacts,
    StageFacts,
)
from commands.builds.git import Missing
from commands.builds.params import by_name, of_params, ran_with
from commands.builds.row_counts import Counts, files_in, flow, ingested, refused_by, rows_in
from commands.builds.sources import Source, data_files, sources_of
from stages.training.kept import kept_path
from stages.training.kept import read as read_kept
from stages.training.seen import seen_in_short, seen_path
from validators._by_file import KEYS, ByFile, of_file
from validators.problems import Problem

SHARED = ("collect", "preflight", "collect_scores", "report")
MADE = ", as dvc.lock has what made it"
Found = TypeVar("Found")


def facts(build: Build, datasets: list[str], steps: list[str]) -> tuple[Lineage, list[Problem]]:
    """(the lineage of some datasets and steps, problems): what has no bytes left is a problem, the rest is answered."""
    problems: list[Problem] = []
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


def attempt(problems: list[Problem], look: Callable[[Build, str], Found], build: Build, path: str) -> Found | None:
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


def seen(build: Build, path: str) -> dict[str, int]:
    """{rows, seen, times, tokens, sequences} of what a training saw."""
    return seen_in_short(file_of(build, path))


def as_json(build: Build, path: str) -> dict[str, Any]:
    """A JSON file of the build."""
    return json.loads(file_of(build, path).read_text(encoding="utf-8"))


# -- stages -------------------------------------------------------------------------------------------------------


def stage_facts(build: Build, name: str, found: dict[str, list[Difference]]) -> StageFacts:
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


def unbuilt(name: str) -> StageFacts:
    stale = [f"not built: dvc repro {name}"]
    return {"stage": name, "params": {}, "code": {}, "validators": {}, "inputs": {}, "outputs": {}, "stale": stale}


def words(build: Build, difference: Difference) -> list[str]:
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


def plain(value: object) -> str:
    text = "nothing" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def short(md5: str | None) -> str:
    return (md5 or "nothing")[:10]


# -- datasets -----------------------------------------------------------------------------------------------------


def dataset(build: Build, name: str, stages: dict[str, StageFacts], problems: list[Problem]) -> DatasetFacts:
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


def sorting(
    build: Build, name: str, stages: dict[str, StageFacts], problems: list[Problem], rows: int | None
) -> list[StageFacts]:
    """The stages that sort the train prompts of a dataset by how hard they are; none where `difficulty` does not ask for it."""
    if name not in (build.params.get("difficulty") or {}):
        return []
    asked, keep = (stages.get(f"{stage}@{name}") or unbuilt(f"{stage}@{name}") for stage in ("difficulty", "keep"))
    found = attempt(problems, rejected_in, build, kept_path(name).as_posix())
    if found is not None:
        keep |= {"in": rows, "out": {"kept": None if rows is None else rows - sum(found.values())}, "rejected": found}
    return [asked, keep]


def rejected_in(build: Build, path: str) -> dict[str, int]:
    """{check: rows} of the prompts that are not kept."""
    return dict(Counter(row["check"] for row in read_kept(file_of(build, path)) if row["check"]))


def raw_path(build: Build, name: str) -> str:
    return PurePosixPath(build.datasets[name]["raw"]).as_posix()


def datasets_of(build: Build, step: str) -> list[str]:
    return [build.steps[one]["dataset"] for one in chain(build, step)]


def side_of(build: Build, path: str, rows: int | None) -> SideFacts:
    return {"path": path, "rows": rows, "md5": build.md5_of(path)}


def raw(build: Build, name: str, ingest: StageFacts, counts: Counts) -> RawFacts:
    """The raw files of a dataset with their hashes, their rights and what ingest made of each."""
    path, rights = raw_path(build, name), rights_of(build, name)
    files = data_files(sources_of(build, [path])[path], path)
    seen = {file.path for file in files}
    files += [Source(other, None) for other in sorted(counts["records"]) if other not in seen]
    return {
        "path": path,
        "md5": ingest["inputs"].get(path),
        "files": [raw_file(file, path, rights, counts) for file in files],
        "waived": build.datasets[name].get("waive") or {},
    }


def raw_file(file: Source, raw: str, rights: dict[str, ByFile | None], counts: Counts) -> RawFile:
    known = bool(counts["records"])
    return {
        "path": file.path,
        "bytes": file.size,
        "md5": file.md5,
        "git": file.git,
        "read": file.read,
        "dvc": file.dvc,
        "imported": file.imported,
        "license": of_file(rights["license"], file.path, raw),
        "source": of_file(rights["source"], file.path, raw),
        "consent": of_file(rights["consent"], file.path, raw),
        "expires": of_file(rights["expires"], file.path, raw),
        "records": counts["records"][file.path] if known else None,
        "rows": counts["rows"][file.path] if known else None,
        "rejected": counts["rejected"][file.path] if known else None,
    }


def rights_of(build: Build, name: str) -> dict[str, ByFile | None]:
    """{license, source, consent, expires} of a dataset as params.yaml has them: one for all raw files, or by pattern."""
    declared = build.datasets[name]
    return {key: declared.get(key) for key in KEYS} | {"expires": (build.params.get("expires") or {}).get(name)}


# -- models -------------------------------------------------------------------------------------------------------


def base(build: Build, stages: dict[str, StageFacts], problems: list[Problem]) -> BaseFacts:
    """The base model: where it came from, its bytes, its scores."""
    declared, out = build.params.get("base") or {}, build.outs.get("models/base")
    return {
        "model": declared.get("model"),
        "revision": declared.get("revision"),
        "backend": declared.get("backend"),
        "md5": out.md5 if out else None,
        "bytes": out.size if out else None,
        "files": attempt(problems, files_in, build, "models/base"),
        "stages": [stages.get(name) or unbuilt(name) for name in ("base", "evaluate_base")],
        "scores": attempt(problems, as_json, build, "scores/base.json"),
    }


def model(build: Build, name: str, stages: dict[str, StageFacts], problems: list[Problem]) -> ModelFacts:
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
        "md5": out.md5 if out else None,
        "bytes": out.size if out else None,
        "weights": "full" if f"models/{name}/config.json" in files else "adapters",
        "adapters": list(dict.fromkeys(path[3] for path in parts if path[2:3] == ["adapters"])),
        "files": files,
        "made_of": made,
        "seen": attempt(problems, seen, build, seen_path(name).as_posix()),
        "waived": step.get("waive") or {},
        "stages": entries,
        "scores": attempt(problems, as_json, build, f"scores/{name}.json"),
    }
