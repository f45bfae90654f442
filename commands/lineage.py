"""`tilth lineage`: what a model, a dataset or a file is made of, and what was made from it.

params.yaml, dvc.lock, the Parquet files' metadata, models/<step>/made_of.json, scores/<step>.json, scores/<step>.seen.parquet
    -> a tree, JSON, or Mermaid
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from commands.builds.build import Build
    from commands.builds.facts import BaseFacts, DatasetFacts, Lineage, ModelFacts, RawFile, SideFacts, StageFacts

Target = Annotated[str | None, typer.Argument(help="A step, a dataset, base, or a file; everything if left out.")]
Rev = Annotated[str | None, typer.Option(help="Answer for this commit, from git and the DVC cache.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, with every hash in full.")]
Mermaid = Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart, for a Markdown page.")]
WIDE = 10_000  # columns
Child = str | tuple[str, list[Any]]  # a line of the tree, or (line, what is below it)
Branch = tuple[str, list[Child]]


def main(
    context: typer.Context, target: Target = None, rev: Rev = None, as_json: Json = False, mermaid: Mermaid = False
) -> None:
    """Show the tree from raw files through every stage to models and scores, and what of it is stale."""
    from commands.builds.build import at
    from commands.builds.lineage import facts
    from validators.problems import Problems

    build = whole(at(rev))
    datasets, steps, only = chosen(build, target, context.obj)
    found, problems = facts(build, datasets, steps)
    for name in datasets if only else []:
        raw = found["datasets"][name]["raw"]
        raw["files"] = [file for file in raw["files"] if file["path"] == only]
    if as_json:
        import json

        said = {"problems": [str(problem) for problem in problems]}
        print(json.dumps({"target": target} | found | said, indent=2))
    elif mermaid:
        from commands.builds.flowchart import flowchart

        print("\n".join(flowchart(found)))
    else:
        show(found, target)
    if problems:
        raise Problems(problems)


def whole(build: "Build") -> "Build":
    """The build, where params.yaml says of every dataset and step what it is made from. Raises Problems."""
    from commands.builds.git import named
    from validators.problems import Problem, Problems

    where, problems = named(build.rev, "params.yaml"), []
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


# -- what is asked for --------------------------------------------------------------------------------------------


def chosen(build: "Build", target: str | None, start: Path | None = None) -> tuple[list[str], list[str], str | None]:
    """(datasets, steps, the one raw file) that a target stands for. Raises Problems where it stands for nothing."""
    from commands.builds.build import chain, models_of
    from validators.problems import Problem, Problems, did_you_mean

    if target is None:
        return list(build.datasets), in_order(build, build.steps), None
    if target == "base":
        return [], [], None
    names, only = {target}, None
    if target not in build.steps and target not in build.datasets:
        path = from_root(target, start)
        names, only = of_output(build, path) or of_raw(build, path)
    if not names:
        known = [*build.datasets, *build.steps, "base", *build.outs, *raw_paths(build)]
        hint = did_you_mean(target, known)
        hint = hint if hint.startswith("did") else did_you_mean(target, [*build.datasets, *build.steps, "base"])
        where = f"tilth lineage {target}"
        raise Problems([Problem(where, f"nothing is called {target!r}", "a step, a dataset, base, or a file", hint)])
    datasets = [name for name in build.datasets if name in names]
    steps = [step for name in datasets for step in models_of(build, name)]
    for name in names & set(build.steps):
        steps += chain(build, name)
        datasets += [build.steps[step]["dataset"] for step in chain(build, name)]
    return [name for name in build.datasets if name in datasets], in_order(build, steps), only


def in_order(build: "Build", steps: Collection[str]) -> list[str]:
    """Steps, each after the one that it started from."""
    from commands.builds.build import chain

    return sorted((name for name in build.steps if name in steps), key=lambda name: len(chain(build, name)))


def from_root(target: str, start: Path | None) -> str:
    """A path as the user means it, relative to the root of the project where it is inside."""
    root, whole = Path.cwd().resolve(), (Path(start or ".") / target).resolve()
    if whole.is_relative_to(root) and (whole.exists() or not Path(target).exists()):
        return whole.relative_to(root).as_posix()
    return Path(target).as_posix()


def of_output(build: "Build", path: str) -> tuple[set[str], None] | None:
    """({datasets and steps}, None) of what a stage built, or of a file in it; None where no stage built it."""
    for out in build.outs:
        if path == out or path.startswith(f"{out}/"):
            name = build.stages[build.maker_of(out)].subject
            if name or not path.startswith(("preflight/", "report/", "models/", "scores/")):
                return ({name} if name else {*build.datasets, *build.steps}), None
            step = path.split("/")[-1].partition(".")[0]
            return ({step} if step in build.steps else {*build.steps}), None
    return None


def of_raw(build: "Build", path: str) -> tuple[set[str], str | None]:
    """({datasets that read a raw file or folder}, the file)."""
    raws = raw_paths(build)
    names = {name for file, owners in raws.items() if file == path or file.startswith(f"{path}/") for name in owners}
    return names, path if path in raws else None


def raw_paths(build: "Build") -> dict[str, list[str]]:
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


# -- the tree -----------------------------------------------------------------------------------------------------


def show(found: "Lineage", target: str | None) -> None:
    """Print the lineage as a tree."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    when = f"at {found['revision'][:10]}" if found["revision"] else "as it stands here"
    tree = Tree(line(f"lineage of {target or 'everything'}, {when}"))
    for label, children in branches(found):
        grow(tree, label, children)
    for stage in found["shared"]:
        for text in stage["stale"]:
            tree.add(Text.assemble(line(f"{stage['stage']} "), (line(f"stale: {text}").plain, "yellow")))
    width = None if sys.stdout.isatty() else WIDE  # what reads a pipe must not meet half a line
    Console(highlight=False, markup=False, emoji=False, width=width).print(tree)


def grow(tree: "Tree", label: str, children: Iterable[Child]) -> None:
    """Add a label and what is below it. A child is a text, or (label, children)."""
    branch = tree.add(line(label))
    for child in children:
        grow(branch, *(child if isinstance(child, tuple) else (child, [])))


def line(text: str) -> "Text":
    """A line of the tree, safe for a terminal; what is stale stands out."""
    from rich.text import Text

    from stages.rows.tables import shown

    return Text(shown(text, 2000), "yellow" if text.startswith("stale: ") else "")


def branches(found: "Lineage") -> Iterator[Branch]:
    yield base_branch(found["base"])
    for name, dataset in found["datasets"].items():
        yield dataset_branch(name, dataset)
    for name, model in found["models"].items():
        yield model_branch(name, model)


def base_branch(base: "BaseFacts") -> Branch:
    lines = [stored("models/base", base), *(stage_branch(stage) for stage in base["stages"])]
    revision = f" at {base['revision']}" if base["revision"] else ""
    return f"base {base['model']}{revision}", [*lines, *scores(base["scores"])]


def dataset_branch(name: str, dataset: "DatasetFacts") -> Branch:
    raw = dataset["raw"]
    files = (f"{raw['path']}, md5 {short(raw['md5'])}", [file_line(file) for file in raw["files"]])
    sides = [f"{side['path']}: {number(side['rows'])} rows, md5 {short(side['md5'])}" for side in sides_of(dataset)]
    trains = f", seen by {', '.join(dataset['trains'])}" if dataset["trains"] else ", no step trains on it"
    stages: list[Child] = [f"waived {what}: {why}" for what, why in raw["waived"].items()]
    stages += [stage_branch(stage) for stage in dataset["stages"]]
    return f"dataset {name}: {dataset['kind']}{trains}", [files, *stages, *sides]


def sides_of(dataset: "DatasetFacts") -> "tuple[SideFacts, SideFacts]":
    return dataset["train"], dataset["eval"]


def file_line(file: "RawFile") -> str:
    parts = f"{number(file['records'])} records = {number(file['rows'])} rows + {number(file['rejected'])} rejected"
    whence = f", imported from {file['imported']}" if file["imported"] else ", kept by DVC" if file["dvc"] else ""
    rights = "".join(f", {key} {file[key]}" for key in ("license", "source", "consent", "expires") if file[key])
    return f"{file['path']}: {number(file['bytes'])} bytes, {hash_of(file)}{whence}, {parts}{rights}"


def hash_of(file: "RawFile") -> str:
    if file["bytes"] is None and not file["md5"]:
        return "no longer there, nor in git or DVC"
    if file["read"]:
        return f"md5 {short(file['md5'])}"
    if file["git"]:
        return f"git {short(file['git'])}"
    return (
        f"md5 {short(file['md5'])} says its .dvc file" if file["md5"] else "too large to hash here (tilth verify does)"
    )


def stage_branch(stage: "StageFacts") -> Branch:
    """A stage: its account, its hashes, and what of it is stale."""
    name, lines = stage["stage"].partition("@")[0], []
    if stage.get("rejected"):
        said = [f"{check} {count:,}" for check, count in rejects_of(stage).items()]
        lines += ["rejected: " + ", ".join(said)] if said else []
    for what in ("code", "validators"):
        if stage[what]:
            lines.append(f"{what} {modules(stage[what], name)}")
    if stage["params"]:
        lines.append(f"params {digest(stage['params'])} of {', '.join(stage['params'])}")
    return f"{name}{account(stage)}", [*lines, *(f"stale: {text}" for text in stage["stale"])]


def account(stage: "StageFacts") -> str:
    if "in" not in stage:
        return ""
    parts = [f"{number(count)} {what}" for what, count in stage["out"].items()]
    rejected = None if stage["rejected"] is None else sum(rejects_of(stage).values())
    rest = sum((stage["rejected"] or {}).values()) - (rejected or 0)
    asked = f" + {rest:,} not sampled" if rest else ""
    return f": {number(stage['in'])} in = {' + '.join(parts)} + {number(rejected)} rejected{asked}"


def rejects_of(stage: "StageFacts") -> dict[str, int]:
    """{check: rows} that a stage rejected, without the rows that it did not sample."""
    from stages.core.outcomes import NOT_SAMPLED

    return {check: count for check, count in (stage["rejected"] or {}).items() if check != NOT_SAMPLED}


def modules(files: Mapping[str, str | None], name: str) -> str:
    """The hash of a stage's own module, and one of all the others that it imports."""
    first = next((path for path in files if path == f"stages/{name}.py"), None)
    first = first or next((path for path in files if "/_" not in path), min(files))
    others = {path: md5 for path, md5 in files.items() if path != first}
    more = f", {len(others)} more {digest(others)}" if others else ""
    return f"{short(files[first])} {first}{more}"


def digest(data: object) -> str:
    """A short hash of plain data, to tell whether two builds had the same."""
    import hashlib
    import json

    return hashlib.md5(json.dumps(data, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:10]


def model_branch(name: str, model: "ModelFacts") -> Branch:
    made = model["made_of"]
    lines: list[Child] = [stored(f"models/{name}", model) + (f", {model['weights']}" if model["files"] else "")]
    if made:
        lines += made_lines(made, model["seen"])
    if model["adapters"]:
        lines.append("adapters, in order: " + ", ".join(model["adapters"]))
    lines += [f"waived {what}: {why}" for what, why in model["waived"].items()]
    lines += [stage_branch(stage) for stage in model["stages"]]
    return f"model {name}: {' -> '.join(model['chain'])}", [*lines, *scores(model["scores"])]


def made_lines(made: Mapping[str, Any], seen: Mapping[str, int] | None) -> Iterator[str]:
    """What a model's made_of.json says of its training, and what the training saw; seen: None where that is not known."""
    rows, tokens = (number((seen or {}).get(key)) for key in ("seen", "tokens"))
    of = f"{number(made.get('rows'))} rows of {made.get('dataset')}"
    yield f"{made.get('method')} on {rows} of {of}, sha256 {short(made.get('rows_sha256'))}"
    if kept := made.get("kept"):
        yield f"of {number(kept['rows'])} rows kept of {number(kept['of'])} by how hard they are, sha256 of their ids {short(kept['sha256'])}"
    steps = number(made.get("optimizer_steps"))
    yield f"{tokens} tokens, {steps} optimizer steps, seed {made.get('seed')}, backend {made.get('backend')}"
    for what in ("args", "lora", "versions"):
        if made.get(what):
            yield f"{what}: " + ", ".join(f"{key} {value}" for key, value in made[what].items())
    if made.get("rewards"):
        codes = made.get("reward_code") or {}
        yield "rewards: " + ", ".join(f"{name}, code sha256 {short(codes.get(name))}" for name in made["rewards"])


def stored(path: str, model: "BaseFacts | ModelFacts") -> str:
    if not model["md5"]:
        return f"{path}: not built"
    size = "?" if model["bytes"] is None else f"{model['bytes'] / 1e6:,.1f}"
    return f"{path}: {size} MB, {number(len(model['files'] or ()))} files, md5 {short(model['md5'])}"


def scores(found: Mapping[str, Any] | None) -> Iterator[str]:
    """A line for the scores of each dataset, with their 95% intervals; evaluate leaves null where there is none."""
    from stages.scoring.statistics import interval

    for dataset, metrics in (found or {}).items():
        known = {
            name: item for name, item in metrics.items() if isinstance(item, dict) and item.get("value") is not None
        }
        shown = [" ".join(filter(None, (f"{name} {item['value']:.3f}", interval(item)))) for name, item in known.items()]
        rows = next(iter(known.values()))["n"] if known else None
        yield f"scores on {number(rows)} eval rows of {dataset}: {', '.join(shown) or 'no value'}"


def number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def short(md5: str | None) -> str:
    return md5[:10] if md5 else "unknown"
