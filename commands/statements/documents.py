"""All documents of a build: statements, bills of materials, datasets. Every call computes them again."""

from pathlib import Path
from typing import Any

from commands.builds.build import Build
from commands.builds.differences import differences
from commands.builds.lineage import collect_facts, describe_difference
from commands.statements import bom, croissant, model
from commands.statements.files import verified_files
from commands.statements.folder import bom_path, croissant_path, statement_path
from commands.statements.row_tree import build_tree
from validators.problems import Problem, Problems


def documents(build: Build) -> dict[Path, dict[str, Any]]:
    """{path: document} of a build. Raises Problems where the build is stale or differs from dvc.lock."""
    stop_if_stale(build)
    paths = [path for step in build.steps for module in (model, bom) for path in module.referenced_paths(build, step)]
    files = verified_files(
        build, [*paths, *(path for name in build.datasets for path in croissant.referenced_paths(build, name))]
    )
    lineage, problems = collect_facts(build, list(build.datasets), list(build.steps))
    if problems:
        raise Problems(problems)
    made = {}
    for name in build.datasets:
        made[croissant_path(name)] = croissant.document(build, name, lineage["datasets"][name], files)
    for step in build.steps:
        made[statement_path(step)] = model.statement(build, step, files, build_tree(build, step))
        made[bom_path(step)] = bom.document(build, step, lineage, files)
    return made


def stop_if_stale(build: Build) -> None:
    """Raise Problems where the current params.yaml, code or data would make another model."""
    stages = {f"train@{step}" for step in build.steps}
    missing = [
        Problem(f"dvc.lock: {name}", "is not there", "a build", "dvc repro")
        for name in sorted(stages - build.stages.keys())
    ]
    if missing:
        raise Problems(missing)
    outs = [f"models/{step}" for step in build.steps] + [f"data/train/{name}.parquet" for name in build.datasets]
    needed = model.upstream_stages(build, *outs)
    stale = {name: found for name, found in differences(build).items() if found and name in needed}
    problems = [
        Problem(
            name,
            "; ".join(line for each in found for line in describe_difference(build, each)),
            "what was built",
            "dvc repro",
        )
        for name, found in stale.items()
    ]
    if problems:
        raise Problems(problems)
