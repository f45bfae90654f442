"""A model's provenance as an in-toto statement with SLSA's predicate: its files, their inputs, and the versions of the libraries.

    statement(build, "align", files, tree) -> {"_type": "https://in-toto.io/Statement/v1", "subject": [...], ...}

It names no machine and no time, so two builds of the same inputs give the same statement.
"""

import json
from pathlib import Path
from typing import Any

from commands.builds.build import Build, chain
from commands.builds.dvc_files import read_dvc_files
from commands.statements.files import File
from commands.statements.formats import BUILD_TYPE, BUILDER, PROVENANCE_TYPE, ROOT_DIGEST, ROWS, STATEMENT_TYPE
from commands.statements.merkle import Tree, root
from stages.training.exposure import exposure_path

BASE = "models/base"


def statement(build: Build, name: str, files: dict[str, list[File]], tree: Tree) -> dict[str, Any]:
    """The statement of a step's model. files: from `verified_files`, with all of `referenced_paths`. tree: of the rows it was trained on."""
    made_of = json.loads(Path("models", name, "made_of.json").read_bytes())
    steps = chain(build, name)
    products = [train_table(build, step) for step in steps] + [exposure_path(step).as_posix() for step in steps]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [resource_descriptor(file, under=f"models/{name}") for file in files[f"models/{name}"]],
        "predicateType": PROVENANCE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"step": name, "params": params_of(build, steps)},
                "resolvedDependencies": [
                    {"name": ROWS, "digest": {ROOT_DIGEST: root(tree).hex()}, "annotations": {"size": len(tree.ids)}},
                    *base_dependencies(build, files[BASE]),
                    *source_dependencies(build, [file for path in materials(build, name) for file in files[path]]),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": made_of["versions"]},
                "byproducts": [resource_descriptor(file) for path in dict.fromkeys(products) for file in files[path]],
            },
        },
    }


def referenced_paths(build: Build, name: str) -> list[str]:
    """The outputs and dependencies whose files are in the statement of a step's model."""
    steps = chain(build, name)
    products = [path for step in steps for path in (train_table(build, step), exposure_path(step).as_posix())]
    return [f"models/{name}", BASE, *materials(build, name), *products]


def train_table(build: Build, step: str) -> str:
    return f"data/train/{build.steps[step]['dataset']}.parquet"


def upstream_stages(build: Build, *outs: str) -> list[str]:
    """The stages that made some outputs, and all stages before those, in the order of the lock."""
    makers: set[str] = set()
    todo = list(outs)
    while todo:
        path = todo.pop()
        for out in build.outs:
            inside = path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/")
            maker = build.maker_of(out)
            if inside and maker not in makers and not path.startswith(".build/"):
                makers.add(maker)
                todo += build.stages[maker].deps
    return [name for name in build.stages if name in makers]


def materials(build: Build, name: str) -> list[str]:
    """The inputs of a model that no stage made: raw data, lists of code, params files."""
    deps = {dep for stage in upstream_stages(build, f"models/{name}") for dep in build.stages[stage].deps}
    return sorted(dep for dep in deps if dep.startswith(".build/") or not build.makes(dep))


def params_of(build: Build, steps: list[str]) -> dict[str, Any]:
    """The part of params.yaml that a model was built with, defaults included."""
    shared = {key: build.params[key] for key in ("seed", "launch", "eval_fraction", "base", "curate", "preflight")}
    datasets = dict.fromkeys(build.steps[step]["dataset"] for step in steps)
    if rules := {name: rule for name, rule in (build.params.get("difficulty") or {}).items() if name in datasets}:
        shared["difficulty"] = rules
    return shared | {
        "datasets": {name: build.datasets[name] for name in datasets},
        "steps": {step: build.steps[step] for step in steps},
    }


def base_dependencies(build: Build, files: list[File]) -> list[dict[str, Any]]:
    """The files of the base model, with its name on the Hub and its revision if it has one: a model without a revision is a folder."""
    base = build.params["base"]
    about = {"annotations": {"model": base["model"], "revision": base["revision"]}} if base.get("revision") else {}
    return [resource_descriptor(file) | about for file in files]


def source_dependencies(build: Build, files: list[File]) -> list[dict[str, Any]]:
    """Files that no stage made. Files that DVC imported have the address of their source."""
    tracked = read_dvc_files({Path(f"{path}.dvc") for file in files for path in path_and_parents(file)})
    dependencies = []
    for file in files:
        address = next((tracked[path].imported for path in path_and_parents(file) if path in tracked), None)
        dependencies.append(resource_descriptor(file) | ({"downloadLocation": address} if address else {}))
    return dependencies


def path_and_parents(file: File) -> list[str]:
    """The path of a file and of each folder above it."""
    return [path.as_posix() for path in (Path(file.path), *Path(file.path).parents)]


def resource_descriptor(file: File, under: str = "") -> dict[str, Any]:
    """A file as in-toto's ResourceDescriptor. under: the folder that its name is relative to."""
    return {"name": file.path.removeprefix(f"{under}/") if under else file.path, "digest": {"sha256": file.sha256}}
