"""What a build left, in the working tree or at any commit: params, lock, and the bytes of every output.

    build = at("v1")                                   # or at() for the working tree
    build.stages["curate@chat"]["outs"]                # dvc.lock: what went into a stage, and what came out
    file_of(build, "data/train/chat.parquet")          # a path to read: in the working tree, or in the DVC cache

Nothing is checked out and nothing is written: texts come from git, outputs from the cache by the hashes of dvc.lock.
"""

import json
import re
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from stages.reading.links import cache_folder
from validators.problems import Problem, Problems, did_you_mean

SIDES = ("train", "eval")


@dataclass(frozen=True)
class Build:
    """rev: a commit's full hash, None for the working tree. stages: the `stages` of dvc.lock, with resolved names."""

    rev: str | None
    params: dict
    stages: dict
    outs: dict = field(repr=False)  # path: the entry of the lock (md5, size, nfiles) and its `stage`

    @property
    def datasets(self):
        return self.params.get("datasets") or {}

    @property
    def steps(self):
        return self.params.get("steps") or {}


class Missing(Problems):
    """Bytes that are neither in the working tree nor in the cache: the rest can still be answered."""


# -- reading a build --------------------------------------------------------------------------------------------


def at(rev=None):
    """The build of a commit (hash, branch, tag), or of the working tree.

    Raises Problems where there is no such commit, or params.yaml or dvc.lock is missing or does not parse there.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    commit = commit_of(rev) if rev else None
    try:
        params = YAML(typ="safe", pure=True).load(text_of(commit, "params.yaml")) or {}
    except YAMLError as error:
        hint = "tilth check" if not rev else "another revision"
        raise Problems([Problem(named(commit, "params.yaml"), f"is not YAML: {one_line(error)}", "", hint)]) from None
    stages = lock_of(commit)
    outs = {
        entry["path"]: entry | {"stage": name} for name, stage in stages.items() for entry in stage.get("outs") or []
    }
    return Build(commit, params, stages, outs)


def lock_of(commit):
    """The stages of dvc.lock. Raises Problems where it is missing or broken, with what still works."""
    import yaml

    where = named(commit, "dvc.lock")
    still = "tilth ledger and tilth inspect need no lock"
    try:
        lock = yaml.load(text_of(commit, "dvc.lock"), Loader=yaml_1_2())
    except Missing:
        hint = f"dvc repro, then commit dvc.lock; {still}" if commit is None else "a commit that has dvc.lock"
        raise Problems([Problem(where, "is not there: nothing was built", "", hint)]) from None
    except yaml.YAMLError as error:
        hint = f"git checkout dvc.lock, then dvc repro; {still}"
        raise Problems([Problem(where, f"does not parse: {one_line(error)}", "what dvc repro wrote", hint)]) from None
    stages = lock.get("stages") if isinstance(lock, dict) else None
    if not isinstance(stages, dict):
        hint = f"git checkout dvc.lock, then dvc repro; {still}"
        raise Problems([Problem(where, "has no `stages`", "what dvc repro wrote", hint)])
    if odd := [name for name, stage in stages.items() if not well_formed(stage)]:
        hint = f"git checkout dvc.lock, then dvc repro; {still}"
        raise Problems([Problem(f"{where}: {odd[0]}", "is no stage", "deps and outs with a `path` each", hint)])
    return stages


def well_formed(stage):
    """True where a stage of the lock has the shape that everything here relies on."""
    if not isinstance(stage, dict):
        return False
    entries = [entry for key in ("deps", "outs") for entry in stage.get(key) or []]
    return all(isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in entries)


@cache
def yaml_1_2():
    """PyYAML's C loader with the scalars of YAML 1.2, as DVC writes them: ten times as fast as ruamel."""
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = type("Loader", (base,), {"yaml_implicit_resolvers": {}})
    for name, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+", list("-+0123456789")),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+0123456789."),
        ),
    ):
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), first)
    return loader


# -- git ----------------------------------------------------------------------------------------------------------


def git(*arguments):
    """What git prints as bytes, None where it fails."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise Problems([Problem("git", "is not installed", "git on the PATH", "install git")]) from None
    return done.stdout if done.returncode == 0 else None


def commit_of(rev):
    """The full hash of a revision. Raises Problems with a hint where there is none."""
    if found := git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"):
        return found.decode().strip()
    if git("rev-parse", "--git-dir") is None:
        hint = "git init; without --rev the working tree is answered for"
        raise Problems([Problem("git", "this folder is not in a git repository", "one with history", hint)])
    if git("rev-parse", "--is-shallow-repository") == b"true\n":
        hint = "git fetch --unshallow"
    else:
        names = (git("for-each-ref", "--format=%(refname:short)") or b"").decode().split()
        hint = did_you_mean(rev, names) if names else "there is no commit yet"
    raise Problems([Problem("git", f"no revision {rev!r}", "a commit, branch or tag", hint)])


def text_of(commit, path):
    """The text of a file that git keeps: at a commit, or as it stands in the working tree. Raises Missing."""
    if commit is None:
        if not Path(path).is_file():
            raise Missing([Problem(str(path), "is not there", "", "git checkout, or a clone of the project")])
        return Path(path).read_text(encoding="utf-8", errors="replace")
    found = git("show", f"{commit}:./{path}")
    if found is None:
        raise Missing([Problem(named(commit, path), "is not there", "", "a later commit may have it")])
    return found.decode(errors="replace")


def named(commit, path):
    """A path as an error names it."""
    return str(path) if commit is None else f"{commit[:10]}:{path}"


def one_line(error):
    return " ".join(str(error).split())[:200]


# -- the bytes of outputs -----------------------------------------------------------------------------------------


def object_of(md5):
    """The path of a cached object, whether it is there or not."""
    return cache_folder() / md5[:2] / md5[2:]


def listed(md5):
    """{relative path: md5} of a cached folder, None where its list is not in the cache, or is damaged there."""
    try:
        return {item["relpath"]: item["md5"] for item in json.loads(object_of(md5).read_bytes())}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def files_of(build, out):
    """{path: md5} of every file of an output of the lock, from the list that the cache keeps for folders.

    Raises Missing where a folder's list is not in the cache.
    """
    entry = build.outs[out]
    if not entry["md5"].endswith(".dir"):
        return {out: entry["md5"]}
    found = listed(entry["md5"])
    if found is None:
        raise missing(build, out)
    return {f"{out}/{relative}": md5 for relative, md5 in found.items()}


def file_of(build, path):
    """Where to read an output, or a file inside one: the working tree, or the cache. Raises Missing.

    For the working tree, what lies there is taken, changed or not: `tilth verify` is what compares.
    """
    path = Path(path).as_posix()
    if build.rev is None and Path(path).exists():
        return Path(path)
    out = next((out for out in build.outs if path == out or path.startswith(out + "/")), None)
    if out is None:
        raise Missing([Problem(named(build.rev, path), "no stage of dvc.lock built it", "", "dvc repro")])
    md5 = files_of(build, out).get(path)
    if md5 is None or not object_of(md5).is_file():
        raise missing(build, path)
    return object_of(md5)


def missing(build, path):
    where = named(build.rev, path)
    hint = "dvc pull" if build.rev is None else "dvc fetch --all-commits, where a remote has it"
    return Missing([Problem(where, "its bytes are not in the DVC cache", "", f"{hint}; everything else is answered")])


# -- what belongs together ----------------------------------------------------------------------------------------


def chain(build, step):
    """The steps behind a model, first to last, itself included; `base` is no step."""
    names = []
    while step in build.steps and step not in names:
        names.append(step)
        step = build.steps[step]["from"]
    return names[::-1]


def models_of(build, dataset):
    """The steps whose model has seen a dataset in training, by themselves or through those that they started from."""
    return [step for step in build.steps if any(build.steps[s]["dataset"] == dataset for s in chain(build, step))]


def tables(build, *rooms):
    """({(room, dataset): path to read}, problems) of the Parquet files of data/<room>/, for example train and eval."""
    found, problems = {}, []
    for room in rooms:
        for name in build.datasets:
            try:
                found[room, name] = file_of(build, f"data/{room}/{name}.parquet")
            except Missing as error:
                problems += error.problems
    return found, problems
