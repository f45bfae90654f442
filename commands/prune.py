"""`tilth prune`: remove what is left of steps and datasets that params.yaml no longer has.

dvc.lock, params.yaml, dvc.yaml -> entries of dvc.lock, outputs, .work/<step>, lines of .gitignore: removed, or named with --dry-run

Never touched: data/raw, the DVC cache, what is committed to git, what no stage built, and what was changed after its build.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.builds.lock import File

# where stages put one output per name: nothing outside of these folders is ever removed
OUTPUT_FOLDERS = (
    "data/ingested",
    "data/validated",
    "data/train",
    "data/eval",
    "data/rejected",
    "data/kept",
    "data/sampled",
    "models",
    "scores",
    ".build/expired",
)
COMMITTED_FOLDER = ".build/expired"  # written in every build, and committed with it
WORK = Path(".work")
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


class Plan(TypedDict):
    """What to remove and what to keep. stages: entries of dvc.lock. paths: {path: (bytes, note)}. kept: {path: why}."""

    stages: list[str]
    paths: dict[str, tuple[int, str]]
    lines: list[tuple[str, str]]  # (.gitignore, line of it)
    kept: dict[str, str]


def main(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove what is left of steps and datasets that params.yaml no longer has."""
    from commands.builds.build import read_build
    from stages.check import drop_source_problems
    from stages.rows.tables import safe_text
    from validators.params import examine, read_params_yaml
    from validators.problems import Problems

    data = read_params_yaml()
    if problems := drop_source_problems(examine(data)[0], data):
        raise Problems(problems)  # a mistake in params.yaml must not look like a removed step
    build = read_build()
    with locked_graph() as live:
        plan = plan_removal(build, live)
        if not dry_run:
            remove(plan)
    if as_json:
        print_json(plan, dry_run)
        return
    for line in describe(plan, dry_run):
        print(safe_text(line, 400))


def print_json(plan: Plan, dry_run: bool) -> None:
    import json

    paths = [{"path": path, "bytes": size, "last_copy": bool(note)} for path, (size, note) in plan["paths"].items()]
    facts = {"removed": not dry_run, "paths": paths, "entries": plan["stages"], "kept": plan["kept"]}
    print(
        json.dumps(facts | {"ignore_lines": [{"file": path, "line": line} for path, line in plan["lines"]]}, indent=2)
    )


@contextlib.contextmanager
def locked_graph() -> Iterator[dict[str, set[str]]]:
    """{stage: its outputs} of the graph; DVC's lock keeps every stage from running meanwhile. Raises Problems if one runs."""
    from commands.builds import dvc as _dvc
    from validators.problems import Problem, Problems

    try:
        with _dvc.exclusive_repo("tilth prune") as repo:
            root = Path(repo.root_dir)
            yield {
                stage.addressing: {Path(out.fs_path).relative_to(root).as_posix() for out in stage.outs}
                for stage in repo.index.stages
                if all(Path(out.fs_path).is_relative_to(root) for out in stage.outs)
            }
    except _dvc.DvcException as error:
        found = " ".join(str(error).split())
        hint = "wait until dvc has ended, or fix what it names; nothing was removed"
        raise Problems([Problem("tilth prune", found, "", hint)]) from None


# -- what is left over --------------------------------------------------------------------------------------------


def plan_removal(build: "Build", live: Mapping[str, set[str]]) -> Plan:
    """What to remove and what to keep. live: {stage: its outputs} of the graph."""
    wanted: set[str] = set().union(*live.values())
    plan: Plan = {"stages": [], "paths": {}, "lines": [], "kept": {}}
    for name in [name for name in build.stages if name not in live]:
        outs = [out for out in build.stages[name].outs.values() if out.path not in wanted]
        kept = {out.path: why for out in outs if (why := reason_to_keep(out))}
        plan["kept"] |= kept
        if kept:
            continue
        plan["stages"].append(name)
        for out in outs:
            if Path(out.path).exists() or Path(out.path).is_symlink():
                plan["paths"][out.path] = (size_of(out.path), "" if is_cached(out.md5 or "") else "the last copy")
            plan["lines"] += ignore_lines(out.path)
    for folder in old_work_folders(build, plan["stages"]):
        if is_training(folder):
            plan["kept"][folder] = "its trainer still runs"
        else:
            plan["paths"][folder] = (size_of(folder), "")
    # in neither the graph nor dvc.lock any more: `curate` would read it for ever
    for path in map(Path.as_posix, sorted(Path(COMMITTED_FOLDER).glob("*.json"))):
        if path not in wanted | plan["paths"].keys() | plan["kept"].keys():
            plan["paths"][path] = (size_of(path), "" if is_tracked(path) else "the last copy")
    known = wanted | set(build.outs) | plan["paths"].keys()
    plan["kept"] |= dict.fromkeys(foreign_paths(known), "no stage built it")
    return plan


def reason_to_keep(out: "File") -> str:
    """Why an output of a removed stage may not be removed; "" if it may."""
    path = PurePosixPath(out.path)
    if ".." in path.parts or not any(
        path.is_relative_to(room) and path != PurePosixPath(room) for room in OUTPUT_FOLDERS
    ):
        return "it is outside of the folders that stages build in"
    if is_tracked(path.as_posix()) and not path.is_relative_to(COMMITTED_FOLDER):
        return "git keeps it"
    if Path(path).exists() and dvc_hash(path.as_posix()) != out.md5:
        return "it was changed after it was built"
    return ""


def dvc_hash(path: str) -> str:
    """DVC's hash of a path, computed from all its bytes."""
    from commands.builds.sources import hash_source

    return hash_source(path)


def is_tracked(path: str) -> bool:
    from commands.builds.git import git

    return bool(git("ls-files", "--", path))


def is_cached(md5: str) -> bool:
    """True if the DVC cache has all of an output, so that it can be restored."""
    from commands.builds.build import folder_listing, object_of

    if not md5.endswith(".dir"):
        return object_of(md5).is_file()
    files = folder_listing(md5)
    return files is not None and all(object_of(one).is_file() for one in files.values())


def size_of(path: str) -> int:
    from commands.builds.sources import files_here

    return sum(file.size or 0 for file in files_here(path))


def ignore_lines(path: str) -> list[tuple[str, str]]:
    """The lines that DVC wrote for an output: `/name` in the .gitignore of its own folder."""
    ignore = Path(path).parent / ".gitignore"
    line = f"/{Path(path).name}"
    here = ignore.is_file() and line in [text.strip() for text in ignore.read_text(encoding="utf-8").splitlines()]
    return [(ignore.as_posix(), line)] if here else []


def old_work_folders(build: "Build", stages: list[str]) -> list[str]:
    """Folders of .work in which a removed step was trained."""
    trained = {name.partition("@")[2] for name in stages if name.startswith("train@")}
    folders = sorted(folder for folder in WORK.glob("*") if folder.is_dir() and folder.name not in build.steps)
    return [folder.as_posix() for folder in folders if folder.name in trained or (folder / "lock.0").exists()]


def is_training(folder: str) -> bool:
    """True while a trainer holds the lock of a folder."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(Path(folder, "lock.0"), timeout=0):
            return False
    except Timeout:
        return True


def foreign_paths(known: set[str]) -> Iterator[str]:
    """Paths in the folders of outputs that are neither an output nor known to git."""
    for room in OUTPUT_FOLDERS:
        for path in sorted(Path(room).glob("*")):
            name = path.as_posix()
            mine = name in known or any(out.startswith(f"{name}/") for out in known) or path.name == ".gitignore"
            if not mine and not is_tracked(name):
                yield name


# -- output and removal -------------------------------------------------------------------------------------------


def describe(plan: Plan, dry_run: bool) -> Iterator[str]:
    """The plan as lines of text."""
    verb = "would remove" if dry_run else "removed"
    for path, (size, note) in plan["paths"].items():
        yield f"{verb} {path}, {size:,} bytes" + (f" ({note}: the DVC cache does not have it)" if note else "")
    for path, line in plan["lines"]:
        yield f"{verb} the line {line} of {path}"
    for name in plan["stages"]:
        yield f"{verb} the entry {name} of dvc.lock"
    for path, why in plan["kept"].items():
        yield f"left alone: {path}: {why}"
    if not plan["stages"] and not plan["paths"]:
        yield "nothing is left of steps or datasets that params.yaml no longer has"
        return
    total = sum(size for size, _ in plan["paths"].values())
    yield f"{total:,} bytes in the working tree. The DVC cache is unchanged: dvc gc --workspace --all-commits"
    yield "removes from it what no commit needs; until then, a step that comes back is restored and not trained"


def remove(plan: Plan) -> None:
    """Remove what is planned; the entries of dvc.lock last, so that an interrupted run can be repeated."""
    import shutil

    from commands.builds.dvc import drop_from_lock

    for name in plan["paths"]:
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, line in plan["lines"]:
        path = Path(name)
        lines = [text for text in path.read_text(encoding="utf-8").splitlines(True) if text.strip() != line]
        if lines:
            path.write_text("".join(lines), encoding="utf-8")
        else:
            path.unlink()
    if plan["stages"]:
        drop_from_lock(plan["stages"])
