"""`tilth provenance`: what every model is made of, in formats that others read, for those who do not run our commands.

dvc.lock and all that it names -> provenance/models/<step>.intoto.json, <step>.cdx.json, provenance/datasets/<dataset>.croissant.json

The documents are a function of the build: the same build gives the same bytes. Each file that they name is hashed and held against
dvc.lock first, so that nothing is stated of what was changed since.
"""

from typing import Annotated

import typer

Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit 1 where a document is not that of the build.")
]


def main(check: Check = False):
    """Write what each model and dataset is made of, for others to check: in-toto and SLSA, CycloneDX, Croissant."""
    from commands.builds.build import at
    from commands.statements.folder import text_of, write
    from validators.problems import Problem, Problems

    found = documents(at())
    if check:
        texts = {path: text_of(document) for path, document in found.items()}
        other = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        if other:
            expected = "what the build gives"
            raise Problems([Problem(str(path), "is another document", expected, "tilth provenance") for path in other])
    for path, document in found.items():
        if not check:
            write(path, document)
        print(path)


def documents(build):
    """{path: document} of a build. Raises Problems where it is stale, or not what its lock says."""
    from commands.builds.lineage import facts
    from commands.statements import bom, croissant, model
    from commands.statements.files import stated
    from commands.statements.folder import bom_path, croissant_path, statement_path
    from commands.statements.trained import tree_of
    from validators.problems import Problems

    stop_if_stale(build)
    paths = [path for step in build.steps for room in (model, bom) for path in room.named(build, step)]
    files = stated(build, [*paths, *(path for name in build.datasets for path in croissant.named(build, name))])
    about, problems = facts(build, list(build.datasets), list(build.steps))
    if problems:
        raise Problems(problems)
    found = {}
    for name in build.datasets:
        found[croissant_path(name)] = croissant.document(build, name, about["datasets"][name], files)
    for step in build.steps:
        found[statement_path(step)] = model.statement(build, step, files, tree_of(build, step))
        found[bom_path(step)] = bom.document(build, step, about, files)
    return found


def stop_if_stale(build):
    """Raise Problems where a model is not the one that params.yaml, code and data of now would make."""
    from commands.builds.differences import differences
    from commands.builds.lineage import words
    from commands.statements.model import behind
    from validators.problems import Problem, Problems

    stages = {f"train@{step}" for step in build.steps}
    lost = [
        Problem(f"dvc.lock: {name}", "is not there", "a build", "dvc repro")
        for name in sorted(stages - build.stages.keys())
    ]
    if lost:
        raise Problems(lost)
    outs = [f"models/{step}" for step in build.steps] + [f"data/train/{name}.parquet" for name in build.datasets]
    needed = behind(build, *outs)
    stale = {name: found for name, found in differences(build).items() if found and name in needed}
    problems = [
        Problem(name, "; ".join(line for each in found for line in words(build, each)), "what was built", "dvc repro")
        for name, found in stale.items()
    ]
    if problems:
        raise Problems(problems)
