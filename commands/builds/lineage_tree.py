"""A lineage as a tree on the terminal: a branch for the base, each dataset and each model, with its stages and scores."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from commands.builds.facts import BaseFacts, DatasetFacts, Lineage, ModelFacts, RawFile, SideFacts, StageFacts

PIPE_WIDTH = 10_000  # columns
Child = str | tuple[str, list[Any]]  # a line of the tree, or (line, its children)
Branch = tuple[str, list[Child]]


def show_tree(found: "Lineage", target: str | None) -> None:
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
    width = None if sys.stdout.isatty() else PIPE_WIDTH  # lines in a pipe must not be wrapped
    Console(highlight=False, markup=False, emoji=False, width=width).print(tree)


def add_branch(tree: "Tree", label: str, children: Iterable[Child]) -> None:
    """Add a label and its children."""
    branch = tree.add(styled_line(label))
    for child in children:
        add_branch(branch, *(child if isinstance(child, tuple) else (child, [])))


def styled_line(text: str) -> "Text":
    """A line of the tree, safe for a terminal; `stale:` lines are yellow."""
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
    later = [step for step in dataset["trains"] if step not in dataset["directly"]]
    trains = f", trained on by {', '.join(dataset['directly'])}" if dataset["trains"] else ", no step trains on it"
    trains += f", and so part of {', '.join(later)}" if later else ""
    stages: list[Child] = [f"waived {what}: {why}" for what, why in raw["waived"].items()]
    stages += [stage_branch(stage) for stage in dataset["stages"]]
    return f"dataset {name}: {dataset['kind']}{trains}", [files, *stages, *sides]


def sides_of(dataset: "DatasetFacts") -> "tuple[SideFacts, SideFacts]":
    return dataset["train"], dataset["eval"]


def file_line(file: "RawFile") -> str:
    parts = f"{format_count(file['records'])} records = {format_count(file['rows'])} rows + {format_count(file['rejected'])} rejected"
    origin = f", imported from {file['imported']}" if file["imported"] else ", kept by DVC" if file["dvc"] else ""
    rights = "".join(f", {key} {file[key]}" for key in ("license", "source", "consent", "expires") if file[key])
    return f"{file['path']}: {format_count(file['bytes'])} bytes, {hash_in_words(file)}{origin}, {parts}{rights}"


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
    """A stage: its account, its hashes, and what is stale."""
    name, lines = stage["stage"].partition("@")[0], []
    if stage.get("rejected"):
        counts = [f"{check} {count:,}" for check, count in reject_counts(stage).items()]
        lines += ["rejected: " + ", ".join(counts)] if counts else []
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
    not_sampled = sum((stage["rejected"] or {}).values()) - (rejected or 0)
    others = f" + {not_sampled:,} not sampled" if not_sampled else ""
    return f": {format_count(stage['in'])} in = {' + '.join(parts)} + {format_count(rejected)} rejected{others}"


def reject_counts(stage: "StageFacts") -> dict[str, int]:
    """{check: rows} that a stage rejected, without the rows that were not sampled."""
    from stages.core.outcomes import NOT_SAMPLED

    return {check: count for check, count in (stage["rejected"] or {}).items() if check != NOT_SAMPLED}


def modules_in_words(files: Mapping[str, str | None], name: str) -> str:
    """The hash of a stage's own module, and one hash of all modules that it imports."""
    first = next((path for path in files if path == f"stages/{name}.py"), None)
    first = first or next((path for path in files if "/_" not in path), min(files))
    others = {path: md5 for path, md5 in files.items() if path != first}
    more = f", {len(others)} more {short_digest(others)}" if others else ""
    return f"{short_hash(files[first])} {first}{more}"


def short_digest(data: object) -> str:
    """A short hash of plain data, to compare two builds."""
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
    """What made_of.json says of a training. seen: the rows and tokens that it saw; None if unknown."""
    rows, tokens = (format_count((seen or {}).get(key)) for key in ("seen", "tokens"))
    of = f"{format_count(made.get('rows'))} rows of {made.get('dataset')}"
    times = (seen or {}).get("times")
    often = f" ({format_count(times)} with repetitions)" if times and times != (seen or {}).get("seen") else ""
    yield f"{made.get('method')} on {rows}{often} of {of}, sha256 {short_hash(made.get('rows_sha256'))}"
    if kept := made.get("kept"):
        yield f"of {format_count(kept['rows'])} rows kept of {format_count(kept['of'])} by difficulty, sha256 of their ids {short_hash(kept['sha256'])}"
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
    """A line for the scores of each dataset, with 95% intervals and what is to be said of the answers; a note of several metrics once.

    A score without a value is left out (evaluate writes null).
    """
    from stages.scoring.statistics import describe_generated_briefly, describe_interval

    for dataset, metrics in (found or {}).items():
        known = {
            name: item for name, item in metrics.items() if isinstance(item, dict) and item.get("value") is not None
        }
        shown, notes = [], {""}
        for name, item in known.items():
            note = describe_generated_briefly(item)
            parts = f"{name} {item['value']:.3f}", describe_interval(item), "" if note in notes else f"({note})"
            shown.append(" ".join(filter(None, parts)))
            notes.add(note)
        rows = next(iter(known.values()))["n"] if known else None
        yield f"scores on {format_count(rows)} eval rows of {dataset}: {', '.join(shown) or 'no value'}"


def format_count(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def short_hash(md5: str | None) -> str:
    return md5[:10] if md5 else "unknown"
