"""`tilth lineage`: what a model, a dataset or a file is made of, and what was made from it.

params.yaml, dvc.lock, the Parquet files' metadata, models/<step>/made_of.json, scores/<step>.json, scores/<step>.seen.parquet
    -> a tree, JSON, or Mermaid
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from commands.builds.build import Build

Target = Annotated[str | None, typer.Argument(help="A step, a dataset, base, or a file; everything if left out.")]
Rev = Annotated[str | None, typer.Option(help="Answer for this commit, from git and the DVC cache.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, with every hash in full.")]
Mermaid = Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart, for a Markdown page.")]


def main(
    context: typer.Context, target: Target = None, rev: Rev = None, as_json: Json = False, mermaid: Mermaid = False
) -> None:
    """Show the tree from raw files through every stage to models and scores, and what is stale in it."""
    from commands.builds.build import read_build
    from commands.builds.lineage import collect_facts
    from validators.problems import Problems

    build = complete_build(read_build(rev))
    datasets, steps, only = resolve_target(build, target, context.obj)
    found, problems = collect_facts(build, datasets, steps)
    for name in datasets if only else []:
        raw = found["datasets"][name]["raw"]
        raw["files"] = [file for file in raw["files"] if file["path"] == only]
    if as_json:
        import json

        messages = [str(problem) for problem in problems]
        print(json.dumps({"target": target} | found | {"problems": messages}, indent=2))
    elif mermaid:
        from commands.builds.flowchart import flowchart

        print("\n".join(flowchart(found)))
    else:
        from commands.builds.lineage_tree import show_tree

        show_tree(found, target)
    if problems:
        raise Problems(problems)


def complete_build(build: "Build") -> "Build":
    """The build as it is. Raises Problems if params.yaml does not say what a dataset or a step is made from."""
    from commands.builds.git import display_path
    from validators.problems import Problem, Problems

    where, problems = display_path(build.rev, "params.yaml"), []
    params = build.params if isinstance(build.params, dict) else {"datasets": None, "steps": None}
    for section, keys in (("datasets", ("raw",)), ("steps", ("from", "dataset"))):
        entries = params.get(section, {})
        if not isinstance(entries, dict):
            problems.append(Problem(where, f"{section} holds no names", "a mapping", "tilth check"))
            continue
        for name, entry in entries.items():
            for key in keys:
                if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
                    problems.append(Problem(where, f"{section}.{name} has no {key!r}", "", "tilth check"))
    if problems:
        raise Problems(problems)
    return build


# -- the target ---------------------------------------------------------------------------------------------------


def resolve_target(
    build: "Build", target: str | None, start: Path | None = None
) -> tuple[list[str], list[str], str | None]:
    """(datasets, steps, the one raw file) that a target stands for. Raises Problems if it is unknown."""
    from commands.builds.build import chain, models_trained_on
    from validators.problems import Problem, Problems, did_you_mean

    if target is None:
        return list(build.datasets), order_steps(build, build.steps), None
    if target == "base":
        return [], [], None
    names, only = {target}, None
    if target not in build.steps and target not in build.datasets:
        path = path_from_root(target, start)
        names, only = names_of_output(build, path) or names_of_raw(build, path)
    if not names:
        known = [*build.datasets, *build.steps, "base", *build.outs, *readers_of_raw(build)]
        hint = did_you_mean(target, known)
        hint = hint if hint.startswith("did") else did_you_mean(target, [*build.datasets, *build.steps, "base"])
        where = f"tilth lineage {target}"
        raise Problems([Problem(where, f"nothing is called {target!r}", "a step, a dataset, base, or a file", hint)])
    datasets = [name for name in build.datasets if name in names]
    steps = [step for name in datasets for step in models_trained_on(build, name)]
    for name in names & set(build.steps):
        steps += chain(build, name)
        datasets += [build.steps[step]["dataset"] for step in chain(build, name)]
    return [name for name in build.datasets if name in datasets], order_steps(build, steps), only


def order_steps(build: "Build", steps: Collection[str]) -> list[str]:
    """The steps in order: each after the one that it starts from."""
    from commands.builds.build import chain

    return sorted((name for name in build.steps if name in steps), key=lambda name: len(chain(build, name)))


def path_from_root(target: str, start: Path | None) -> str:
    """The path that the user means, relative to the root of the project if it is inside. start: where the user is."""
    root, absolute = Path.cwd().resolve(), (Path(start or ".") / target).resolve()
    if absolute.is_relative_to(root) and (absolute.exists() or not Path(target).exists()):
        return absolute.relative_to(root).as_posix()
    return Path(target).as_posix()


def names_of_output(build: "Build", path: str) -> tuple[set[str], None] | None:
    """({datasets and steps}, None) of an output of a stage or a file in it; None if no stage built it."""
    for out in build.outs:
        if path == out or path.startswith(f"{out}/"):
            name = build.stages[build.maker_of(out)].subject
            if name or not path.startswith(("preflight/", "report/", "models/", "scores/")):
                return ({name} if name else {*build.datasets, *build.steps}), None
            step = path.split("/")[-1].partition(".")[0]
            return ({step} if step in build.steps else {*build.steps}), None
    return None


def names_of_raw(build: "Build", path: str) -> tuple[set[str], str | None]:
    """({datasets that read a raw file or folder}, the raw file or None)."""
    raws = readers_of_raw(build)
    names = {name for file, owners in raws.items() if file == path or file.startswith(f"{path}/") for name in owners}
    return names, path if path in raws else None


def readers_of_raw(build: "Build") -> dict[str, list[str]]:
    """{raw file: datasets that read it}."""
    from commands.builds.lineage import raw_path
    from commands.builds.sources import data_files, sources_of

    found = {}
    roots = {name: raw_path(build, name) for name in build.datasets}
    files = sources_of(build, sorted(set(roots.values())))
    for name, root in roots.items():
        for file in data_files(files[root], root):
            found.setdefault(file.path, []).append(name)
    return found
