"""What must hold after every fault, whatever it was: the next run completes, and what it built is as if nothing had happened."""

import hashlib
import shutil
import sys

from ruamel.yaml import YAML

MADE = [
    *("dvc.lock", ".dvc/cache", ".dvc/tmp", ".work", "models", "preflight", "scores", "report"),
    *(
        f"data/{name}"
        for name in (
            "ingested",
            "validated",
            "train",
            "eval",
            "rejected",
            "kept",
            "train.json",
            "eval.json",
            "pinned.txt",
        )
    ),
]


def holds(project, expected):
    """The next run completes, every byte is that of an undisturbed build, and `tilth verify` passes on a commit of it.

    expected: outputs_of(a build that nothing disturbed). Returns the stages that ran.
    """
    ran = project.repro()
    assert outputs_of(project.folder) == expected
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "--allow-empty", "-m", "after the fault")
    assert "BROKEN" not in tilth(project, "verify")
    return ran


def tilth(project, *arguments, fails=False):
    return project.run(sys.executable, "-m", "commands", *arguments, fails=fails)


def outputs_of(folder):
    """{file: md5 of its bytes} of every output in a folder's dvc.lock, and {output as locked: md5}."""
    locked = {out["path"]: out["md5"] for stage in stages_of(folder).values() for out in stage["outs"]}
    files = [file for path in locked for file in files_below(folder / path)]
    return {str(file.relative_to(folder)): md5(file) for file in files} | {
        f"{key} locked": locked[key] for key in locked
    }


def stages_of(folder):
    return YAML(typ="safe", pure=True).load(folder / "dvc.lock")["stages"]


def outs_of(folder, stage):
    return [out["path"] for out in stages_of(folder)[stage]["outs"]]


def files_below(path):
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def md5(file):
    return hashlib.md5(file.read_bytes()).hexdigest()


def never_built(folder, stage):
    """Remove what a stage made, from the cache too."""
    for out in outs_of(folder, stage):
        for file in files_below(folder / out):
            remove(folder / ".dvc/cache/files/md5" / md5(file)[:2] / md5(file)[2:])
        remove(folder / out)
    remove(folder / ".dvc/cache/runs")
    remove(folder / ".work")


def start_anew(project):
    """Remove all that a build has made."""
    for name in MADE:
        remove(project.folder / name)


def remove(path):
    path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)
