"""Why a stage runs, in words: which parameter, file or line of code changed, from what to what.

words(Difference("dep", "data/raw/chat", ...)) -> ["data/raw/chat/a.jsonl: 3 lines since the last build"]

The lock has hashes only. What a file was is looked for in git, by the hash, in the last commits that touched it.
"""

import json
from functools import cache

from commands.builds.build import Build, raw_params, with_defaults
from commands.builds.changes import changed_params, describe_change, format_value
from commands.builds.code import changes_since
from commands.builds.differences import as_change
from commands.builds.git import git
from commands.builds.params import PARAMS, PARAMS_FOLDER, content_by_hash, merge_texts, param_texts, written_texts
from commands.builds.sources import md5_of_source, sources_of

COMMITS = 30  # how far back git is searched for what was built from
LARGE_BYTES = 64_000_000  # data folders above this are described by their size
FILES, WIDTH = 3, 60  # of what one reason tells, in files and in characters of a value


def reason_lines(why):
    """Lines for all reasons of a Decision, each once."""
    # what `methods` holds counts where `steps` take it from there
    named = [each for each in why if each.what == "param" and not each.key.startswith("methods")]
    used = [each for each in why if each.what != "param" or not named or each in named]
    return list(dict.fromkeys(line for each in used for line in difference_lines(each)))


def difference_lines(reason):
    """Lines for one Difference."""
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
        return ["it runs in every build, as what it writes depends on the day"]
    if what == "cache":
        return ["unless the run cache has it, which the inputs will tell"]
    if what == "unknown":
        return [if_different(reason.new)]
    if what == "code" and reason.old is not None:
        return changes_since(Build(None, {}), path, reason.old.md5)
    if path.startswith(f"{PARAMS_FOLDER}/") and reason.old is not None:
        return params_lines(path, reason.old.md5)
    if path == PARAMS and reason.old is not None and (found := params_yaml_lines()):
        return found
    return file_lines(reason)


def if_different(paths):
    """The condition on which a stage runs, for inputs that are not known yet."""
    *first, last = paths
    return f"if {', '.join(first)} or {last} come out different" if first else f"if {last} comes out different"


OUTPUT_STATES = {
    "deleted": "is not there",
    "modified": "is not what was built",
    "not in cache": "is not in the cache",
    "new": "is not in the lock",
}


def file_lines(reason):
    """How an input differs from that of the last build."""
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


def params_lines(path, md5):
    """The values that differ of what a stage reads of the params."""
    build = Build(None, with_defaults(raw_params(None)))
    before, now = content_by_hash(build, path, md5), json.loads(param_texts(build)[path])
    return ["params.yaml: changed since the last build"] if before is None else change_lines(before, now)


def params_yaml_lines():
    """The values that differ from those that `check` wrote last; none where a comment was edited, say."""
    written = written_texts()
    return (
        change_lines(merge_texts(written), merge_texts(param_texts(Build(None, with_defaults(raw_params(None))))))
        if written
        else []
    )


def change_lines(before, now):
    return [describe_change(change, WIDTH) for change in changed_params(before, now)]


@cache
def commit_with(path, md5, size):
    """The latest commit in which a file or folder has a hash of DVC's, None where git has none such."""
    if size > LARGE_BYTES:
        return None
    commits = (git("log", f"--max-count={COMMITS}", "--format=%H", "--", path) or b"").decode().split()
    return next(
        (commit for commit in commits if md5_of_source(path, sources_of(Build(commit, {}), [path])[path]) == md5), None
    )


def changed_since(commit, path):
    """`file: 3 lines since the last build` for what changed of a path since a commit."""
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


def line_count(lines):
    return "1 line" if lines == 1 else f"{lines:,} lines"
