"""Collect the facts of a build's lineage: each stage of the lock, the rows of each dataset, the parts of each model.

    collect_facts(read_build(), datasets=["chat"], steps=["sft"]) -> {"datasets": {...}, "base": {...}, "models": {...}}, problems

Counts come from the metadata and the small columns of the Parquet files, hashes from dvc.lock; `stale` says where
params.yaml, raw data and code differ from the lock.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from commands.builds.build import Build, chain, file_of
from commands.builds.code import CODE_FOLDER, changes_since
from commands.builds.differences import ABSENT, Difference, differences, model_differences, stale_inputs
from commands.builds.facts import BaseFacts, DatasetFacts, Lineage, ModelFacts, RawFacts, RawFile, SideFacts, StageFacts
from commands.builds.git import Missing
from commands.builds.params import flatten_names, is_params_file, params_of_run
from commands.builds.row_counts import Counts, count_ingested, count_rejects, count_rows, fill_in_counts, output_files
from commands.builds.sources import Source, data_files, sources_of
from stages.training.exposure import exposure_path, exposure_summary
from stages.training.kept_prompts import kept_path
from stages.training.kept_prompts import read_rows as read_kept
from validators._by_file import RIGHTS_KEYS, ByFile, value_for_file
from validators.problems import Problem

SHARED_STAGES = ("collect", "preflight", "collect_scores", "report")
MADE_NOTE = ", its hash in dvc.lock now"
Result = TypeVar("Result")


def collect_facts(build: Build, datasets: list[str], steps: list[str]) -> tuple[Lineage, list[Problem]]:
    """(the lineage of some datasets and steps, problems). Missing bytes are problems; the rest is complete."""
    problems: list[Problem] = []
    found = differences(build)
    stages = {name: stage_facts(build, name, found) for name in build.stages}
    return {
        "revision": build.rev,
        "datasets": {name: dataset_facts(build, name, stages, problems) for name in datasets},
        "base": base_facts(build, stages, problems),
        "models": {name: model_facts(build, name, stages, problems) for name in steps},
        # older builds do not have these stages
        "shared": [stages[name] for name in ("pin", "judge") if name in stages]
        + [stages.get(name) or unbuilt_stage(name) for name in SHARED_STAGES],
    }, problems


def read_if_built(
    problems: list[Problem], read: Callable[[Build, str], Result], build: Build, path: str
) -> Result | None:
    """What `read` returns for a path, None where it was never built or its bytes are missing.

    Adds missing bytes to the problems. What was never built is not one: its stage says so.
    """
    if not any(path == out or path.startswith(f"{out}/") for out in build.outs):
        return None
    try:
        return read(build, path)
    except Missing as error:
        problems += [problem for problem in error.problems if problem not in problems]
        return None


def training_summary(build: Build, path: str) -> dict[str, int] | None:
    """{rows, seen, times, tokens, sequences} of what a training saw."""
    return exposure_summary(file_of(build, path))


def read_json(build: Build, path: str) -> dict[str, Any]:
    """A JSON file of the build."""
    return json.loads(file_of(build, path).read_text(encoding="utf-8"))


# -- stages -------------------------------------------------------------------------------------------------------


def stage_facts(build: Build, name: str, found: dict[str, list[Difference]]) -> StageFacts:
    """One stage: the hashes of its inputs and outputs, and what has changed since. found: the differences of all stages."""
    stage = build.stages[name]
    deps = {path: dep.md5 for path, dep in stage.deps.items() if not is_params_file(path)}
    # older builds depend on each module, not on lists of code
    checking = (f"{CODE_FOLDER}/kinds", f"{CODE_FOLDER}/rewards", "validators/")
    validators = {path: md5 for path, md5 in deps.items() if path.startswith(checking)}
    code = {p: md5 for p, md5 in deps.items() if p.startswith((f"{CODE_FOLDER}/", "stages/")) and p not in validators}
    # changed params are shown by their values, not by the hash of their file
    shown = (each for each in found[name] if each.what != "dep" or not is_params_file(each.path))
    stale = [line for difference in shown for line in describe_difference(build, difference)]
    return {
        "stage": name,
        "params": flatten_names(params_of_run(build, name) or {}),
        "code": code,
        "validators": validators,
        "inputs": {path: md5 for path, md5 in deps.items() if path not in code and path not in validators},
        "outputs": {path: out.md5 for path, out in stage.outs.items()},
        "stale": stale + [f"{path}: stale itself" for path in stale_inputs(build, name, found)],
    }


def unbuilt_stage(name: str) -> StageFacts:
    stale = [f"not built: dvc repro {name}"]
    return {"stage": name, "params": {}, "code": {}, "validators": {}, "inputs": {}, "outputs": {}, "stale": stale}


def describe_difference(build: Build, difference: Difference) -> list[str]:
    """Lines for a Difference."""
    what, path, old, new = difference.what, difference.path, difference.old, difference.new
    if what == "code":
        return changes_since(build, path, old.md5)
    if what == "cmd":
        return [f"params.yaml: launch: {old.split(' -m stages')[0]} -> {new.split(' -m stages')[0]}"]
    if what == "dep" and new.md5 == "":
        return [f"{path}: {old.size:,} bytes -> {new.size:,} bytes"]
    if what == "dep":
        return [
            f"{path}: {short_md5(old.md5)} -> {short_md5(new.md5) if new.md5 else 'not there'}{MADE_NOTE * new.made}"
        ]
    if what == "param" and not difference.key:
        return [f"{path}: changed since"]
    return [f"{'' if what == 'model' else path + ': '}{difference.key}: {short_json(old)} -> {short_json(new)}"]


def short_json(value: object) -> str:
    text = "nothing" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def short_md5(md5: str | None) -> str:
    return (md5 or "nothing")[:10]


# -- datasets -----------------------------------------------------------------------------------------------------


def dataset_facts(build: Build, name: str, stages: dict[str, StageFacts], problems: list[Problem]) -> DatasetFacts:
    """A dataset from its raw files to its two sides, with the rows at each stage."""
    declared = build.datasets[name]
    entries = {
        room: stages.get(f"{room}@{name}") or unbuilt_stage(f"{room}@{name}")
        for room in ("ingest", "validate", "curate")
    }
    counts = read_if_built(problems, count_ingested, build, f"data/ingested/{name}") or {
        "rows": Counter(),
        "records": Counter(),
        "rejected": Counter(),
    }
    refused = read_if_built(problems, count_rejects, build, f"data/rejected/{name}.parquet")
    sides = {
        side: read_if_built(problems, count_rows, build, f"data/{side}/{name}.parquet") for side in ("train", "eval")
    }
    fill_in_counts(entries, counts, refused, sides)
    return {
        "kind": declared.get("kind"),
        "raw": raw_facts(build, name, entries["ingest"], counts) | {"waived": declared.get("waive") or {}},
        "stages": [*entries.values(), *difficulty_stages(build, name, stages, problems, sides["train"])],
        "train": side_facts(build, f"data/train/{name}.parquet", sides["train"]),
        "eval": side_facts(build, f"data/eval/{name}.parquet", sides["eval"]),
        "trains": [step for step in build.steps if name in datasets_of(build, step)],
        "directly": [step for step, entry in build.steps.items() if entry["dataset"] == name],
    }


def difficulty_stages(
    build: Build, name: str, stages: dict[str, StageFacts], problems: list[Problem], rows: int | None
) -> list[StageFacts]:
    """The stages that sort the train prompts of a dataset by how hard they are; none without an entry in `difficulty`."""
    if name not in (build.params.get("difficulty") or {}):
        return []
    difficulty, keep = (
        stages.get(f"{stage}@{name}") or unbuilt_stage(f"{stage}@{name}") for stage in ("difficulty", "keep")
    )
    found = read_if_built(problems, count_not_kept, build, kept_path(name).as_posix())
    if found is not None:
        keep |= {"in": rows, "out": {"kept": None if rows is None else rows - sum(found.values())}, "rejected": found}
    return [difficulty, keep]


def count_not_kept(build: Build, path: str) -> dict[str, int]:
    """{check: rows} of the prompts that are not kept."""
    return dict(Counter(row["check"] for row in read_kept(file_of(build, path)) if row["check"]))


def raw_path(build: Build, name: str) -> str:
    return PurePosixPath(build.datasets[name]["raw"]).as_posix()


def datasets_of(build: Build, step: str) -> list[str]:
    return [build.steps[one]["dataset"] for one in chain(build, step)]


def side_facts(build: Build, path: str, rows: int | None) -> SideFacts:
    return {"path": path, "rows": rows, "md5": build.md5_of(path)}


def raw_facts(build: Build, name: str, ingest: StageFacts, counts: Counts) -> RawFacts:
    """The raw files of a dataset with their hashes, their rights, and what ingest made of each."""
    path, rights = raw_path(build, name), rights_of(build, name)
    files = data_files(sources_of(build, [path])[path], path)
    present = {file.path for file in files}
    files += [Source(other, None) for other in sorted(counts["records"]) if other not in present]
    return {
        "path": path,
        "md5": ingest["inputs"].get(path),
        "files": [raw_file_facts(file, path, rights, counts) for file in files],
        "waived": build.datasets[name].get("waive") or {},
    }


def raw_file_facts(file: Source, raw: str, rights: dict[str, ByFile | None], counts: Counts) -> RawFile:
    known = bool(counts["records"])
    return {
        "path": file.path,
        "bytes": file.size,
        "md5": file.md5,
        "git": file.git,
        "read": file.read,
        "dvc": file.dvc,
        "imported": file.imported,
        "license": value_for_file(rights["license"], file.path, raw),
        "source": value_for_file(rights["source"], file.path, raw),
        "consent": value_for_file(rights["consent"], file.path, raw),
        "expires": value_for_file(rights["expires"], file.path, raw),
        "records": counts["records"][file.path] if known else None,
        "rows": counts["rows"][file.path] if known else None,
        "rejected": counts["rejected"][file.path] if known else None,
    }


def rights_of(build: Build, name: str) -> dict[str, ByFile | None]:
    """{license, source, consent, expires} of a dataset in params.yaml: one value for all raw files, or values by pattern."""
    declared = build.datasets[name]
    return {key: declared.get(key) for key in RIGHTS_KEYS} | {"expires": (build.params.get("expires") or {}).get(name)}


# -- models -------------------------------------------------------------------------------------------------------


def base_facts(build: Build, stages: dict[str, StageFacts], problems: list[Problem]) -> BaseFacts:
    """The base model: where it came from, its bytes, its scores."""
    declared, out = build.params.get("base") or {}, build.outs.get("models/base")
    return {
        "model": declared.get("model"),
        "revision": declared.get("revision"),
        "backend": declared.get("backend"),
        "md5": out.md5 if out else None,
        "bytes": out.size if out else None,
        "files": read_if_built(problems, output_files, build, "models/base"),
        "stages": [stages.get(name) or unbuilt_stage(name) for name in ("base", "evaluate_base")],
        "scores": read_if_built(problems, read_json, build, "scores/base.json"),
    }


def model_facts(build: Build, name: str, stages: dict[str, StageFacts], problems: list[Problem]) -> ModelFacts:
    """The model of a step: its chain, its training data, its adapters in order, its scores."""
    step, out = build.steps[name], build.outs.get(f"models/{name}")
    made_of = read_if_built(problems, read_json, build, f"models/{name}/made_of.json") or {}
    files = read_if_built(problems, output_files, build, f"models/{name}") or {}
    parts = (path.split("/") for path in sorted(files))
    entries = [stages.get(f"{room}@{name}") or unbuilt_stage(f"{room}@{name}") for room in ("train", "evaluate")]
    if made_of:
        entries[0]["stale"] += [
            line for each in model_differences(build, name, made_of) for line in describe_difference(build, each)
        ]
    return {
        "chain": ["base", *chain(build, name)],
        "dataset": step.get("dataset"),
        "md5": out.md5 if out else None,
        "bytes": out.size if out else None,
        "weights": "full" if f"models/{name}/config.json" in files else "adapters",
        "adapters": list(dict.fromkeys(path[3] for path in parts if path[2:3] == ["adapters"])),
        "files": files,
        "made_of": made_of,
        "seen": read_if_built(problems, training_summary, build, exposure_path(name).as_posix()),
        "waived": step.get("waive") or {},
        "stages": entries,
        "scores": read_if_built(problems, read_json, build, f"scores/{name}.json"),
    }
