"""Why a stage runs, in words: the parameter, file or line of code that changed, with its old and new value.

difference_lines(Difference("dep", "data/raw/chat", ...)) -> ["data/raw/chat/a.jsonl: 3 lines since the last build"]

The lock has hashes only. The old content of a file is looked up in git by its hash, in the last commits that touched the file.
"""

import json
from functools import cache
from typing import Any

from commands.builds.build import Build, raw_params, with_defaults
from commands.builds.changes import changed_params, describe_change, format_value
from commands.builds.code import changes_since
from commands.builds.differences import Difference, as_change
from commands.builds.git import git
from commands.builds.params import PARAMS, PARAMS_FOLDER, content_by_hash, merge_texts, param_texts, written_texts
from commands.builds.sources import md5_of_source, sources_of

COMMITS = 30  # of a path; how far back git is searched for the content of the last build
LARGE_BYTES = 64_000_000  # of a folder of data; larger ones are described by their size
FILES, WIDTH = 3, 60  # most files, and most characters of a value, in one reason


def reason_lines(why: list[Difference]) -> list[str]:
    """The lines for all reasons of a Decision, each once."""
    # `steps` name the values that they take from `methods`
    of_steps = [each for each in why if each.what == "param" and not each.key.startswith("methods")]
    used = [each for each in why if each.what != "param" or not of_steps or each in of_steps]
    return list(dict.fromkeys(line for each in used for line in difference_lines(each)))


def difference_lines(reason: Difference) -> list[str]:
    """The lines for one Difference."""
    what, path = reason.what, reason.path
    if what == "new":
        return ["it was never built"]
    if what == "param":
        return [f"{'' if path == 'params.yaml' else path + ': '}{describe_change(as_change(reason), WIDTH)}"]
    if what == "cmd":
        return [f"command: {format_value(reason.old)} -> {format_value(reason.new)}"]
    if what == "output":
        return [f"{path} {OUTPUT_STATES.get(reason.new, reason.new)}"]
    if what == "always":
        return ["it runs in every build, because its output depends on the date"]
    if what == "cache":
        return ["unless the run cache has this run: that depends on its inputs"]
    if what == "unknown":
        return [if_different(reason.new)]
    if what == "code" and reason.old is not None:
        return changes_since(Build(None, {}), path, reason.old.md5)
    if path.startswith(f"{PARAMS_FOLDER}/") and reason.old is not None:
        return params_lines(path, reason.old.md5)
    if path == PARAMS and reason.old is not None and (changed := params_yaml_lines()):
        return changed
    return file_lines(reason)


def if_different(paths: list[str]) -> str:
    """The condition under which a stage runs, for inputs that are not known yet."""
    *first, last = paths
    return f"if {', '.join(first)} or {last} come out different" if first else f"if {last} comes out different"


OUTPUT_STATES = {
    "deleted": "is not there",
    "modified": "is not what was built",
    "not in cache": "is not in the cache",
    "new": "is not in the lock",
}


def file_lines(reason: Difference) -> list[str]:
    """The difference between an input and that of the last build."""
    path, old, now = reason.path, reason.old, reason.new
    if now and now.origin:
        return [f"{path}: {now.origin}"]
    if now is None:
        return [f"{path} is not there"]
    if old is None:
        return [f"{path}: a new input"]
    if commit := commit_with(path, old.md5, old.size or 0):
        return changed_since(commit, path)
    if old.size not in (None, now.size):
        return [f"{path}: {old.size:,} -> {now.size:,} bytes since the last build"]
    return [f"{path}: changed since the last build"]


def params_lines(path: str, md5: str) -> list[str]:
    """The changed values among the params that a stage reads."""
    build = Build(None, with_defaults(raw_params(None)))
    before, now = content_by_hash(build, path, md5), json.loads(param_texts(build)[path])
    return ["params.yaml: changed since the last build"] if before is None else change_lines(before, now)


def params_yaml_lines() -> list[str]:
    """The values that changed since `check` last wrote them; [] where, for example, only a comment was edited."""
    written = written_texts()
    return (
        change_lines(merge_texts(written), merge_texts(param_texts(Build(None, with_defaults(raw_params(None))))))
        if written
        else []
    )


def change_lines(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [describe_change(change, WIDTH) for change in changed_params(before, now)]


@cache
def commit_with(path: str, md5: str, size: int) -> str | None:
    """The latest commit in which a file or folder has this hash of DVC's; None where git has none."""
    if size > LARGE_BYTES:
        return None
    commits = (git("log", f"--max-count={COMMITS}", "--format=%H", "--", path) or b"").decode().split()
    return next(
        (commit for commit in commits if md5_of_source(path, sources_of(Build(commit, {}), [path])[path]) == md5), None
    )


def changed_since(commit: str, path: str) -> list[str]:
    """`file: 3 lines since the last build` for each file of a path that changed since a commit."""
    from stages.rows.tables import safe_text

    printed = (git("diff", "--numstat", "-z", "--relative", commit, "--", path) or b"").decode(errors="replace")
    rows = [line.split("\t") for line in printed.split("\0") if line.count("\t") == 2]
    new = (git("ls-files", "--others", "--exclude-standard", "-z", "--", path) or b"").decode(errors="replace")
    lines = [
        f"{safe_text(file)}: {line_count(int(added) + int(removed)) if added != '-' else 'changed'} since the last build"
        for added, removed, file in rows
    ] + [f"{safe_text(file)}: a new file" for file in new.split("\0") if file]
    if not lines:
        return [f"{path}: changed since the last build"]
    return lines if len(lines) <= FILES else [*lines[:FILES], f"{path}: {len(lines) - FILES:,} more files"]


def line_count(lines: int) -> str:
    return "1 line" if lines == 1 else f"{lines:,} lines"
