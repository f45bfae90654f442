"""What a rebuild costs: nothing changed, a switch back, a colleague's first build, and twelve kinds of edit.

    python benchmarks/rebuild.py --folder FOLDER [--small] [--pairs 7] [--only noop switch first edits]

Builds HEAD in FOLDER/project (--small: the project of the tests, with few rows and training steps), then measures, each pair
one after the other in turns:

noop    `dvc repro` when nothing changed, beside that of a bare pipeline: as many stages, with as many dependencies and outputs of
        the same sizes, but neither parameters nor templates, and commands that do nothing
switch  `dvc repro` after a switch to a method that was built before, beside `dvc checkout` of the same outputs, and beside
        `dvc repro` of a bare pipeline that restores as many stages
first   `dvc pull` and `dvc repro` in a fresh clone, beside `dvc pull` alone in another
edits   one edit at a time, from the committed state: the stages that ran, and the share of the first build's time

Prints Markdown. FOLDER must not exist yet, or have been made by a run of this script with the same --small.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from rebuild_edits import EDITS, params_of  # noqa: E402

PARTS = ("noop", "switch", "first", "edits")
OUTPUTS = ("data", "models", "preflight", "scores", "report")
OTHER = "kto"  # the method that is switched to; dpo is what params.yaml comes with


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--small", action="store_true", help="to try the script: the project of the tests")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    project = arguments.folder.resolve() / "project"
    whole = built(project, arguments.small)
    commit = run(ROOT, "git", "rev-parse", "--short", "HEAD").strip()
    print(
        f"commit {commit}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    print(
        f"the first build of {'the small' if arguments.small else 'the sample'} project: {whole:.1f} s; load {load()}\n"
    )
    if "noop" in arguments.only:
        paired("no-op `dvc repro`", *noop(project, arguments.pairs), "the bare pipeline", 1.3)
    if "switch" in arguments.only:
        ours, checkouts, bare = switch(project, arguments.pairs)
        paired("`dvc repro` after a switch back", ours, checkouts, "`dvc checkout` alone", 1.5)
        paired("`dvc repro` after a switch back", ours, bare, "the bare pipeline, switched", "-")
        paired("the bare pipeline, switched", bare, checkouts, "`dvc checkout` alone", "-")
    if "first" in arguments.only:
        paired("`dvc pull` and `dvc repro` of a colleague", *first(project, arguments.pairs), "`dvc pull` alone", None)
    if "edits" in arguments.only:
        edits(project, whole)
    print(f"\nload at the end {load()}")


# -- running ------------------------------------------------------------------------------------------------------


def run(folder, *command):
    """Output of a command, with this Python first on the path; the folder's own record of what DVC has hashed."""
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name}-site"),
        **{f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} in {folder}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def repro(folder):
    """(seconds, stages that ran) of `dvc repro`."""
    start = time.perf_counter()
    said = run(folder, "dvc", "repro")
    return time.perf_counter() - start, re.findall(r"Running stage '([^']+)'", said)


def timed(folder, *command):
    start = time.perf_counter()
    run(folder, *command)
    return time.perf_counter() - start


def commit_all(folder):
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "a build")


def load():
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def built(project, small):
    """Seconds of the first build of the project, which is made where it is not there."""
    note = project.with_name("first.json")
    if not note.exists():
        project.parent.mkdir(parents=True, exist_ok=True)
        if small:
            sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
            from conftest import small_project

            small_project(project)
        else:
            run(ROOT, "git", "clone", "-q", str(ROOT), str(project))
        seconds, _ = repro(project)
        commit_all(project)
        note.write_text(json.dumps(seconds), encoding="utf-8")
    return json.loads(note.read_text(encoding="utf-8"))


def paired(name, ours, others, other, goal):
    """Print the medians of two series that were measured in turns, and of their ratios."""
    ratio = statistics.median(a / b for a, b in zip(ours, others, strict=True))
    print(f"| | {name} | {other} | times | goal |\n|---|--:|--:|--:|--:|")
    a, b = statistics.median(ours), statistics.median(others)
    print(f"| median s of {len(ours)} | {a:.2f} | {b:.2f} | {ratio:.2f} | {goal or f'{b:.2f} s plus a no-op'} |")
    print(
        f"| least and most s | {min(ours):.2f}, {max(ours):.2f} | {min(others):.2f}, {max(others):.2f} | | |\n",
        flush=True,
    )


# -- nothing changed ----------------------------------------------------------------------------------------------


def noop(project, pairs):
    bare = project.with_name("bare")
    if not bare.exists():
        make_bare(project, bare)
    for folder in (project, bare):
        assert repro(folder)[1] == []
    times = [(repro(project)[0], repro(bare)[0]) for _ in range(pairs)]
    return zip(*times, strict=True)


def make_bare(project, bare, switched=()):
    """A pipeline of stages without commands, parameters or templates, over copies of what the project's stages read and write.

    switched: the stages that depend on the one parameter that there is, `method`.
    """
    stages = YAML(typ="safe", pure=True).load(project / "dvc.lock")["stages"]
    bare.mkdir()
    paths = {
        key: {name: [one["path"] for one in stage.get(key, [])] for name, stage in stages.items()}
        for key in ("deps", "outs")
    }
    for path in {path for named in paths.values() for found in named.values() for path in found}:
        copy(project / path, bare / path)
    graph = {name.replace("@", "_"): {"cmd": "true"} | {key: paths[key][name] for key in paths} for name in stages}
    for name in switched:
        graph[name.replace("@", "_")]["params"] = ["method"]
    (bare / "params.yaml").write_text("method: dpo\n", encoding="utf-8")
    with open(bare / "dvc.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump({"stages": graph}, file)
    for name in (".dvcignore", ".gitignore"):  # without the second, DVC writes some into folders that stages depend on
        shutil.copyfile(project / name, bare / name)
    run(bare, "git", "init", "-q")
    run(bare, "dvc", "init", "-q")
    shutil.copyfile(project / ".dvc/config", bare / ".dvc/config")  # neither looks for a newer DVC
    run(bare, "dvc", "commit", "--force", "--quiet")
    commit_all(bare)


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


# -- switching ----------------------------------------------------------------------------------------------------


def switch(project, pairs):
    """Back and forth between two methods that were built, beside a `dvc checkout` of the same two in a clone with the same cache.

    Returns the seconds of the project, of the checkouts, and of a bare pipeline.
    """
    twin, bare = project.with_name("twin"), project.with_name("bare-switch")
    if not twin.exists():
        run(project, "git", "checkout", "-q", "-b", "other")
        take(project, OTHER)
        repro(project)
        commit_all(project)
        run(project, "git", "checkout", "-q", "-")
        run(project, "dvc", "checkout", "--quiet")
        run(project, "git", "clone", "-q", str(project), str(twin))
        run(twin, "git", "branch", "-q", "other", "origin/other")
        run(twin, "dvc", "cache", "dir", "--local", str(project / ".dvc/cache"))
        run(twin, "dvc", "checkout", "--quiet")
        branch(twin, "other")
        branch(twin, "-")
    if not bare.exists():
        make_bare_switch(project, twin, bare)
    (bare / "params.yaml").write_text("method: dpo\n", encoding="utf-8")
    repro(bare)
    ours, checkouts, bares = [], [], []
    for number in range(2 * pairs):
        method = (OTHER, "dpo")[number % 2]
        take(project, method)
        seconds, ran = repro(project)
        assert set(ran) <= {"check"}, ran
        ours.append(seconds)
        checkouts.append(branch(twin, "other" if method == OTHER else "-"))
        (bare / "params.yaml").write_text(f"method: {method}\n", encoding="utf-8")
        seconds, ran = repro(bare)
        assert ran == [], ran
        bares.append(seconds)
    run(project, "git", "checkout", "-q", ".")
    return ours, checkouts, bares


def make_bare_switch(project, twin, bare):
    """A bare pipeline that has built both methods; the twin has what the other one made."""
    locks = [
        YAML(typ="safe", pure=True).load(run(project, "git", "show", f"{name}:dvc.lock")) for name in ("HEAD", "other")
    ]
    here, there = (lock["stages"] for lock in locks)
    switched = [name for name in here if here[name] != there[name] and name != "check"]  # of which nothing is cached
    make_bare(project, bare, switched)
    branch(twin, "other")
    for out in (out["path"] for name in switched for out in there[name]["outs"]):
        run(bare, "rm", "-rf", out)  # it may be a link to the cache
        copy(twin / out, bare / out)
    branch(twin, "-")
    (bare / "params.yaml").write_text(f"method: {OTHER}\n", encoding="utf-8")
    run(bare, "dvc", "commit", "--force", "--quiet")
    commit_all(bare)


def take(project, method):
    """Have the step `align` train by a method."""
    edit(project, params_of(lambda params: params["steps"].update(align=params["methods"][method])))


def branch(twin, name):
    """Seconds of `dvc checkout` after git has another branch."""
    run(twin, "git", "checkout", "-q", name)
    return timed(twin, "dvc", "checkout", "--quiet")


# -- a colleague --------------------------------------------------------------------------------------------------


def first(project, pairs):
    """Fresh clones, each with a DVC that has seen nothing: `dvc pull` and `dvc repro`, and `dvc pull` alone."""
    remote = project.with_name("remote")
    if not remote.exists():
        run(project, "dvc", "remote", "add", "--default", "team", str(remote))
        run(project, "dvc", "push", "--quiet")
        commit_all(project)
    return zip(*[(colleague(project, True), colleague(project, False)) for _ in range(pairs)], strict=True)


def colleague(project, builds):
    clone = project.with_name("clone")
    run(project, "git", "clone", "-q", str(project), str(clone))
    seconds = timed(clone, "dvc", "pull", "--quiet")
    if builds:
        more, ran = repro(clone)
        assert ran == [], ran
        seconds += more
    shutil.rmtree(clone)
    shutil.rmtree(clone.with_name("clone-site"))
    return seconds


# -- edits --------------------------------------------------------------------------------------------------------


def edit(project, changes):
    for path, change in changes.items():
        text = (project / path).read_text(encoding="utf-8")
        (project / path).write_text(change(text), encoding="utf-8")


def edits(project, whole):
    """Print a table of edits, each from the committed state."""
    print("| edit | stages that ran | s | share of the first build |\n|---|---|--:|--:|")
    for name, changes in EDITS.items():
        edit(project, changes)
        seconds, ran = repro(project)
        print(f"| {name} | {listed(ran)} | {seconds:.1f} | {seconds / whole:.1%} |", flush=True)
        run(project, "git", "checkout", "-q", ".")
        run(project, "git", "clean", "-qfdX", *OUTPUTS)  # of a dataset that was added, too
        run(project, "dvc", "checkout", "--quiet", "--force")
    assert repro(project)[1] == []


def listed(ran):
    """Stages in words: those of one room together."""
    rooms = {}
    for stage in ran:
        room, _, name = stage.partition("@")
        rooms.setdefault(room, []).append(name)
    return (
        ", ".join(f"`{room}`" + (f" {', '.join(names)}" if names != [""] else "") for room, names in rooms.items())
        or "none"
    )


if __name__ == "__main__":
    main()
