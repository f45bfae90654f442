"""`tilth diff`: what differs between two builds: parameters, files, rows by dataset and reason, models and scores.

git and the DVC cache at each commit (`commands/builds/build.py`) -> text, Markdown for a pull request, or JSON

Outputs with the same hash are equal and are not read. If neither the working tree nor the cache has a file, the command
answers what it can without it, names the file at the end, and exits with 1.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.builds.changes import Change
    from commands.builds.diff_text import DatasetDiff, Diff, FileDiff, ModelDiff, Revision, Score, ScoreDiff
    from validators.problems import Problem

Old = Annotated[str, typer.Argument(metavar="REV", help="A commit, branch or tag.")]
New = Annotated[
    str | None, typer.Argument(metavar="REV", help="What to compare it with; the working tree if left out.")
]
Rows = Annotated[bool, typer.Option("--rows", help="Print the rows too.")]
Limit = Annotated[int, typer.Option(min=0, help="How many rows --rows prints of a dataset at most; 0 for all.")]
Markdown = Annotated[bool, typer.Option("--md", help="As Markdown, for a pull request.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
ROOMS = ("train", "eval", "rejected")
CODE_FOLDERS = ("stages", "validators")  # the modules that the lists of code name
SCORE_FIELDS = ("value", "low", "high", "n", "stderr")


def main(
    old: Old, new: New = None, rows: Rows = False, limit: Limit = 20, md: Markdown = False, as_json: Json = False
) -> None:
    """Show what differs between two builds: parameters, rows by dataset and reason, models and scores."""
    from commands.builds.build import read_build
    from validators.problems import Problem, Problems

    if md and as_json:
        raise Problems([Problem("tilth diff", "--md and --json at once", "one of them")])
    before, after = read_build(old), read_build(new)
    problems = []
    found = diff_builds(before, after, limit if rows else None, problems)
    found |= {"from": revision_of(old, before), "to": revision_of(new, after)}
    if as_json:
        import json

        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        from commands.builds.diff_text import markdown, text

        print("\n".join((markdown if md else text)(cast("Diff", found))))
    if problems:
        raise Problems(problems)


def revision_of(rev: str | None, build: "Build") -> "Revision":
    """A build as its reader knows it: the revision as it was given, and its commit."""
    if build.rev is None:
        return {"rev": None, "commit": None}
    return {"rev": rev, "commit": build.rev}


# -- what differs, as plain data ------------------------------------------------------------------------------------


def diff_builds(old: "Build", new: "Build", limit: int | None, problems: "list[Problem]") -> dict[str, Any]:
    """All differences. limit: rows to fetch of each dataset, 0 for all, None for none. Missing files are added to problems."""
    from commands.builds.changes import changed_params

    # `methods` matters only where a step uses it, and is then in `steps`
    params = [{key: value for key, value in build.params.items() if key != "methods"} for build in (old, new)]
    names = dict.fromkeys([*old.datasets, *new.datasets])
    datasets = [changed_dataset(name, old, new, limit, problems) for name in names]
    return {
        "params": changed_params(params[0], params[1]),
        "not_built": unbuilt_params(new),
        "files": changed_files(old, new),
        "datasets": [dataset for dataset in datasets if dataset],
        "models": changed_models(old, new),
        "scores": changed_scores(old, new, problems),
    }


def unbuilt_params(build: "Build") -> "list[Change]":
    """What has changed in params.yaml since the build; rows and scores are still those of dvc.lock."""
    from commands.builds.changes import changed_params
    from commands.builds.params import params_then_and_now

    before, now = params_then_and_now(build, "check")
    return changed_params(before or {}, now)


def changed_files(old: "Build", new: "Build") -> "list[FileDiff]":
    """[{path, lines?, old?, new?}] of raw data and code: the files that stages read and no stage builds, by their hashes."""
    files = []
    for build in (old, new):
        deps = [dep for stage in build.stages.values() for dep in stage.deps.values()]
        files.append({dep.path: dep for dep in deps if not build.makes(dep.path)})
    lines = changed_lines(old, new)
    found: list[FileDiff] = []
    for path in sorted({*files[0], *files[1]}):
        sides = {key: file[path] for key, file in zip(("old", "new"), files, strict=True) if path in file}
        if len({side.md5 for side in sides.values()}) > 1 or len(sides) == 1:
            sizes = {key: {"md5": side.md5, "size": side.size} for key, side in sides.items()}
            counts = [count for file, count in lines.items() if f"{file}/".startswith(f"{path}/")]
            if path not in CODE_FOLDERS:
                found.append({"path": path, "lines": sum(counts) or None, **sizes})
    return found + changed_modules(old, new, lines)


def changed_modules(old: "Build", new: "Build", lines: dict[str, int]) -> "list[FileDiff]":
    """The same for modules, by the lists of code; an edited comment is no change."""
    from commands.builds.code import module_hashes, written_lists

    sides = [module_hashes(written_lists(build).values()) for build in (old, new)]
    found: list[FileDiff] = []
    for path in sorted({*sides[0], *sides[1]}):
        hashes = [side.get(path) for side in sides]
        if hashes[0] != hashes[1] and ":" not in path:
            there = {
                key: {"md5": None, "size": None} for key, sha256 in zip(("old", "new"), hashes, strict=True) if sha256
            }
            found.append({"path": path, "lines": lines.get(path), **there})
    return found


def changed_lines(old: "Build", new: "Build") -> dict[str, int]:
    """{path: lines added and removed} by git, between two commits or a commit and the working tree."""
    from commands.builds.git import git

    revs = [build.rev for build in (old, new) if build.rev]
    printed = (git("diff", "--numstat", "-z", "--relative", *revs, "--") or b"").decode(errors="replace")
    rows = (line.split("\t") for line in printed.split("\0") if line.count("\t") == 2)
    return {path: int(added) + int(removed) for added, removed, path in rows if added != "-" and path}


def changed_dataset(
    name: str, old: "Build", new: "Build", limit: int | None, problems: "list[Problem]"
) -> "DatasetDiff | None":
    """{dataset, change, sizes, rows, records?} of a dataset; None if both builds have the same files.

    sizes: {room: [rows before, rows after]} of the files that differ. rows, sizes: None if a file is missing.
    """
    from commands.records.row_changes import changed_records, count_changes, count_rows, open_comparison

    hashes = [hashes_of(build, name) for build in (old, new)]
    rooms = [room for room in ROOMS if hashes[0].get(room) != hashes[1].get(room)]
    if not rooms:
        return None
    change = "added" if not hashes[0] else "removed" if not hashes[1] else "changed"
    found: DatasetDiff = {"dataset": name, "change": change, "sizes": None, "rows": None}
    files = [
        {room: path for room in rooms if room in hashed and (path := table_path(build, room, name, problems))}
        for build, hashed in zip((old, new), hashes, strict=True)
    ]
    if any(room in hashed and room not in paths for room in rooms for hashed, paths in zip(hashes, files, strict=True)):
        return found
    with open_comparison(*files) as database:
        found["sizes"] = {room: [count_rows(paths.get(room)) for paths in files] for room in rooms}
        found["rows"] = count_changes(database)
        if limit is not None:
            found["records"] = changed_records(database, *files, limit)
        return found


def table_path(build: "Build", room: str, name: str, problems: "list[Problem]") -> Path | None:
    """The file of a table of a dataset. If it is missing: None, and a problem is added."""
    from commands.builds.build import file_of
    from commands.builds.git import Missing

    try:
        return file_of(build, f"data/{room}/{name}.parquet")
    except Missing as error:
        problems += error.problems
        return None


def hashes_of(build: "Build", name: str) -> dict[str, str]:
    """{room: md5} of the built files of a dataset."""
    hashes = {room: build.md5_of(f"data/{room}/{name}.parquet") for room in ROOMS if name in build.datasets}
    return {room: md5 for room, md5 in hashes.items() if md5}


def changed_models(old: "Build", new: "Build") -> "list[ModelDiff]":
    """[{model, change}]: added, removed, or changed, which means other bytes."""
    found: list[ModelDiff] = []
    for name in dict.fromkeys(["base", *old.steps, *new.steps]):
        before, after = (
            build.md5_of(f"models/{name}") if name == "base" or name in build.steps else None for build in (old, new)
        )
        if before != after:
            found.append({"model": name, "change": "added" if not before else "changed" if after else "removed"})
    return found


def changed_scores(old: "Build", new: "Build", problems: "list[Problem]") -> "list[ScoreDiff]":
    """[{model, dataset, metric, old, new, change}] of each score that differs. old, new: {value, low, high, n} or None."""
    found: list[ScoreDiff] = []
    for model in dict.fromkeys(["base", *old.steps, *new.steps]):
        hashes = [build.md5_of(f"scores/{model}.json") for build in (old, new)]
        if hashes[0] == hashes[1]:
            continue
        scores_before, scores_after = (scores_of(build, model, problems) for build in (old, new))
        if scores_before is None or scores_after is None:
            continue
        for dataset, metric in dict.fromkeys([*scores_before, *scores_after]):
            before, after = scores_before.get((dataset, metric)), scores_after.get((dataset, metric))
            if before != after:
                item: ScoreDiff = {
                    "model": model,
                    "dataset": dataset,
                    "metric": metric,
                    "old": before,
                    "new": after,
                    "change": score_change(before, after),
                }
                found.append(item)
    return found


def score_change(old: "Score | None", new: "Score | None") -> float | None:
    """By how much a score changed; None if either is missing or has no value (evaluate writes null)."""
    before, after = (score["value"] if score else None for score in (old, new))
    return None if before is None or after is None else after - before


def scores_of(build: "Build", model: str, problems: "list[Problem]") -> "dict[tuple[str, str], Score] | None":
    """{(dataset, metric): {value, low, high, n}} of a model; empty if it was not scored, None if the file is missing."""
    import json

    from commands.builds.build import file_of
    from commands.builds.git import Missing

    path = f"scores/{model}.json"
    if path not in build.outs or (model != "base" and model not in build.steps):
        return {}
    try:
        scores = json.loads(file_of(build, path).read_text(encoding="utf-8"))
    except Missing as error:
        problems += error.problems
        return None
    return {
        (dataset, metric): cast("Score", {key: summary[key] for key in SCORE_FIELDS if key in summary})
        for dataset, metrics in scores.items()
        for metric, summary in metrics.items()
    }
