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
PIPE_WIDTH = 10_000  # columns
Child = str | tuple[str, list[Any]]  # a line of the tree, or (line, what is below it)
Branch = tuple[str, list[Child]]


def main(
    context: typer.Context, target: Target = None, rev: Rev = None, as_json: Json = False, mermaid: Mermaid = False
) -> None:
    """Show the tree from raw files through every stage to models and scores, and what of it is stale."""
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

        said = {"problems": [str(problem) for problem in problems]}
        print(json.dumps({"target": target} | found | said, indent=2))
    elif mermaid:
        from commands.builds.flowchart import flowchart

        print("\n".join(flowchart(found)))
    else:
        show(found, target)
    if problems:
        raise Problems(problems)


def complete_build(build: "Build") -> "Build":
    """The build, where params.yaml says of every dataset and step what it is made from. Raises Problems."""
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


# -- what is asked for --------------------------------------------------------------------------------------------


def resolve_target(
    build: "Build", target: str | None, start: Path | None = None
) -> tuple[list[str], list[str], str | None]:
    """(datasets, steps, the one raw file) that a target stands for. Raises Problems where it stands for nothing."""
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
    """Steps, each after the one that it started from."""
    from commands.builds.build import chain

    return sorted((name for name in build.steps if name in steps), key=lambda name: len(chain(build, name)))


def path_from_root(target: str, start: Path | None) -> str:
    """A path as the user means it, relative to the root of the project where it is inside."""
    root, whole = Path.cwd().resolve(), (Path(start or ".") / target).resolve()
    if whole.is_relative_to(root) and (whole.exists() or not Path(target).exists()):
        return whole.relative_to(root).as_posix()
    return Path(target).as_posix()


def names_of_output(build: "Build", path: str) -> tuple[set[str], None] | None:
    """({datasets and steps}, None) of what a stage built, or of a file in it; None where no stage built it."""
    for out in build.outs:
        if path == out or path.startswith(f"{out}/"):
            name = build.stages[build.maker_of(out)].subject
            if name or not path.startswith(("preflight/", "report/", "models/", "scores/")):
                return ({name} if name else {*build.datasets, *build.steps}), None
            step = path.split("/")[-1].partition(".")[0]
            return ({step} if step in build.steps else {*build.steps}), None
    return None


def names_of_raw(build: "Build", path: str) -> tuple[set[str], str | None]:
    """({datasets that read a raw file or folder}, the file)."""
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


# -- the tree -----------------------------------------------------------------------------------------------------


def show(found: "Lineage", target: str | None) -> None:
    """Print the lineage as a tree."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    when = f"at {found['revision'][:10]}" if found["revision"] else "as it stands here"
    tree = Tree(styled_line(f"lineage of {target or 'everything'}, {when}"))
    for label, children in branches(found):
        add_branch(tree, label, children)
    for stage in found["shared"]:
        for text in stage["stale"]:
            tree.add(Text.assemble(styled_line(f"{stage['stage']} "), (styled_line(f"stale: {text}").plain, "yellow")))
    width = None if sys.stdout.isatty() else PIPE_WIDTH  # what reads a pipe must not meet half a line
    Console(highlight=False, markup=False, emoji=False, width=width).print(tree)


def add_branch(tree: "Tree", label: str, children: Iterable[Child]) -> None:
    """Add a label and what is below it. A child is a text, or (label, children)."""
    branch = tree.add(styled_line(label))
    for child in children:
        add_branch(branch, *(child if isinstance(child, tuple) else (child, [])))


def styled_line(text: str) -> "Text":
    """A line of the tree, safe for a terminal; what is stale stands out."""
    from rich.text import Text

    from stages.rows.tables import safe_text

    return Text(safe_text(text, 2000), "yellow" if text.startswith("stale: ") else "")


def branches(found: "Lineage") -> Iterator[Branch]:
    yield base_branch(found["base"])
    for name, dataset in found["datasets"].items():
        yield dataset_branch(name, dataset)
    for name, model in found["models"].items():
        yield model_branch(name, model)


def base_branch(base: "BaseFacts") -> Branch:
    lines = [storage_line("models/base", base), *(stage_branch(stage) for stage in base["stages"])]
    revision = f" at {base['revision']}" if base["revision"] else ""
    return f"base {base['model']}{revision}", [*lines, *score_lines(base["scores"])]


def dataset_branch(name: str, dataset: "DatasetFacts") -> Branch:
    raw = dataset["raw"]
    files = (f"{raw['path']}, md5 {short_hash(raw['md5'])}", [file_line(file) for file in raw["files"]])
    sides = [
        f"{side['path']}: {format_count(side['rows'])} rows, md5 {short_hash(side['md5'])}"
        for side in sides_of(dataset)
    ]
    trains = f", seen by {', '.join(dataset['trains'])}" if dataset["trains"] else ", no step trains on it"
    stages: list[Child] = [f"waived {what}: {why}" for what, why in raw["waived"].items()]
    stages += [stage_branch(stage) for stage in dataset["stages"]]
    return f"dataset {name}: {dataset['kind']}{trains}", [files, *stages, *sides]


def sides_of(dataset: "DatasetFacts") -> "tuple[SideFacts, SideFacts]":
    return dataset["train"], dataset["eval"]


def file_line(file: "RawFile") -> str:
    parts = f"{format_count(file['records'])} records = {format_count(file['rows'])} rows + {format_count(file['rejected'])} rejected"
    whence = f", imported from {file['imported']}" if file["imported"] else ", kept by DVC" if file["dvc"] else ""
    rights = "".join(f", {key} {file[key]}" for key in ("license", "source", "consent", "expires") if file[key])
    return f"{file['path']}: {format_count(file['bytes'])} bytes, {hash_in_words(file)}{whence}, {parts}{rights}"


def hash_in_words(file: "RawFile") -> str:
    if file["bytes"] is None and not file["md5"]:
        return "no longer there, nor in git or DVC"
    if file["read"]:
        return f"md5 {short_hash(file['md5'])}"
    if file["git"]:
        return f"git {short_hash(file['git'])}"
    return (
        f"md5 {short_hash(file['md5'])} says its .dvc file"
        if file["md5"]
        else "too large to hash here (tilth verify does)"
    )


def stage_branch(stage: "StageFacts") -> Branch:
    """A stage: its account, its hashes, and what of it is stale."""
    name, lines = stage["stage"].partition("@")[0], []
    if stage.get("rejected"):
        said = [f"{check} {count:,}" for check, count in reject_counts(stage).items()]
        lines += ["rejected: " + ", ".join(said)] if said else []
    for what in ("code", "validators"):
        if stage[what]:
            lines.append(f"{what} {modules_in_words(stage[what], name)}")
    if stage["params"]:
        lines.append(f"params {short_digest(stage['params'])} of {', '.join(stage['params'])}")
    return f"{name}{account_in_words(stage)}", [*lines, *(f"stale: {text}" for text in stage["stale"])]


def account_in_words(stage: "StageFacts") -> str:
    if "in" not in stage:
        return ""
    parts = [f"{format_count(count)} {what}" for what, count in stage["out"].items()]
    rejected = None if stage["rejected"] is None else sum(reject_counts(stage).values())
    rest = sum((stage["rejected"] or {}).values()) - (rejected or 0)
    asked = f" + {rest:,} not sampled" if rest else ""
    return f": {format_count(stage['in'])} in = {' + '.join(parts)} + {format_count(rejected)} rejected{asked}"


def reject_counts(stage: "StageFacts") -> dict[str, int]:
    """{check: rows} that a stage rejected, without the rows that it did not sample."""
    from stages.core.outcomes import NOT_SAMPLED

    return {check: count for check, count in (stage["rejected"] or {}).items() if check != NOT_SAMPLED}


def modules_in_words(files: Mapping[str, str | None], name: str) -> str:
    """The hash of a stage's own module, and one of all the others that it imports."""
    first = next((path for path in files if path == f"stages/{name}.py"), None)
    first = first or next((path for path in files if "/_" not in path), min(files))
    others = {path: md5 for path, md5 in files.items() if path != first}
    more = f", {len(others)} more {short_digest(others)}" if others else ""
    return f"{short_hash(files[first])} {first}{more}"


def short_digest(data: object) -> str:
    """A short hash of plain data, to tell whether two builds had the same."""
    import hashlib
    import json

    return hashlib.md5(json.dumps(data, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:10]


def model_branch(name: str, model: "ModelFacts") -> Branch:
    made = model["made_of"]
    lines: list[Child] = [storage_line(f"models/{name}", model) + (f", {model['weights']}" if model["files"] else "")]
    if made:
        lines += training_lines(made, model["seen"])
    if model["adapters"]:
        lines.append("adapters, in order: " + ", ".join(model["adapters"]))
    lines += [f"waived {what}: {why}" for what, why in model["waived"].items()]
    lines += [stage_branch(stage) for stage in model["stages"]]
    return f"model {name}: {' -> '.join(model['chain'])}", [*lines, *score_lines(model["scores"])]


def training_lines(made: Mapping[str, Any], seen: Mapping[str, int] | None) -> Iterator[str]:
    """What a model's made_of.json says of its training, and what the training saw; seen: None where that is not known."""
    rows, tokens = (format_count((seen or {}).get(key)) for key in ("seen", "tokens"))
    of = f"{format_count(made.get('rows'))} rows of {made.get('dataset')}"
    yield f"{made.get('method')} on {rows} of {of}, sha256 {short_hash(made.get('rows_sha256'))}"
    if kept := made.get("kept"):
        yield f"of {format_count(kept['rows'])} rows kept of {format_count(kept['of'])} by how hard they are, sha256 of their ids {short_hash(kept['sha256'])}"
    steps = format_count(made.get("optimizer_steps"))
    yield f"{tokens} tokens, {steps} optimizer steps, seed {made.get('seed')}, backend {made.get('backend')}"
    for what in ("args", "lora", "versions"):
        if made.get(what):
            yield f"{what}: " + ", ".join(f"{key} {value}" for key, value in made[what].items())
    if made.get("rewards"):
        codes = made.get("reward_code") or {}
        yield "rewards: " + ", ".join(f"{name}, code sha256 {short_hash(codes.get(name))}" for name in made["rewards"])


def storage_line(path: str, model: "BaseFacts | ModelFacts") -> str:
    if not model["md5"]:
        return f"{path}: not built"
    size = "?" if model["bytes"] is None else f"{model['bytes'] / 1e6:,.1f}"
    return f"{path}: {size} MB, {format_count(len(model['files'] or ()))} files, md5 {short_hash(model['md5'])}"


def score_lines(found: Mapping[str, Any] | None) -> Iterator[str]:
    """A line for the scores of each dataset, with their 95% intervals; evaluate leaves null where there is none."""
    from stages.scoring.statistics import describe_interval

    for dataset, metrics in (found or {}).items():
        known = {
            name: item for name, item in metrics.items() if isinstance(item, dict) and item.get("value") is not None
        }
        shown = [
            " ".join(filter(None, (f"{name} {item['value']:.3f}", describe_interval(item))))
            for name, item in known.items()
        ]
        rows = next(iter(known.values()))["n"] if known else None
        yield f"scores on {format_count(rows)} eval rows of {dataset}: {', '.join(shown) or 'no value'}"


def format_count(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def short_hash(md5: str | None) -> str:
    return md5[:10] if md5 else "unknown"
