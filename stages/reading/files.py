"""The files of a dataset, and the files beside them that are not data: seen from their names and their folder.

raw_files("data/raw/chat") -> [data/raw/chat/alpaca.json, data/raw/chat/chatml.jsonl]
listing("data/raw/chat").others -> {data/raw/chat/README.md: "a README"}

containers.py sees the format of a file from its content. To it, a README would be a table of one column.
"""

import difflib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from stages.reading.dvcignore import ignored_files
from validators.problems import Problem, Problems

IGNORED_HINT = "rename the file, or remove the pattern that matches it from .dvcignore"
DATA_SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".zip"}
NON_DATA_NAMES = {  # {pattern of a name in lower case: what the file is}
    r"readme([._-].*)?": "a README",
    r"(.*\.)?(licen[cs]e|copying|notice)([._-].*)?": "a license",
    r"dataset_infos?\.json": "what a dataset is, not its rows",
    r"dataset_dict\.json": "the list of splits of a saved dataset",
    r"croissant\.json": "a description in Croissant",
}
DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "croissant.json"}


@dataclass
class Listing:
    """The files of records, sorted by path, and the other files, each with what it is."""

    data: list[Path] = field(default_factory=list)
    others: dict[Path, str] = field(default_factory=dict)


def raw_files(raw: str, where: str = "raw", exclude: Sequence[str] = ()) -> list[Path]:
    """The files of records of a dataset, sorted by path. Raises Problems if there is none."""
    return listing(raw, where, exclude).data


def listing(raw: str, where: str = "raw", exclude: Sequence[str] = ()) -> Listing:
    """The files of a dataset. If `raw` is a file, it is data, whatever its name. Hidden files are left out.

    raw: a file or a folder, relative to the root. exclude: patterns. Raises Problems if no file of records is there.
    """
    path, files = Path(raw), Listing()
    for file in [path] if path.is_file() else files_below(path, where):
        if any(fits_pattern(file, pattern, raw) for pattern in exclude):
            files.others[file] = "excluded in params.yaml"
        elif file != path and (role := non_data_role(file)):
            files.others[file] = role
        else:
            files.data.append(file)
    if invisible := ignored_files(files.data):
        problem = "DVC ignores it, so an edit of it would never be built"
        raise Problems([Problem(str(file), problem, "", IGNORED_HINT) for file in invisible])
    if not files.data:
        what = f"{raw!r} holds no file" + f" of records: {shorten_list(file.name for file in files.others)}" * bool(
            files.others
        )
        hint = "put the data there, or remove the dataset from params.yaml"
        raise Problems([Problem(where, what, "at least one JSON, CSV or Parquet file", hint)])
    return files


def files_below(path: Path, where: str) -> list[Path]:
    """The files in a folder and below it, sorted by path, without hidden ones and .dvc files."""
    if not path.is_dir():
        has_dvc_file = Path(f"{path}.dvc").is_file()
        hint = "put the data there; the path is relative to the folder of params.yaml"
        hint = f"dvc pull {path}.dvc" if has_dvc_file else hint
        raise Problems([Problem(where, f"{str(path)!r} does not exist", "a file or a folder with raw data", hint)])
    below = sorted(path.rglob("*"))
    if misnamed := [problem for file in below for problem in name_problems(file)]:
        raise Problems(misnamed)
    visible = [file for file in below if not is_hidden(file.relative_to(path)) and file.suffix != ".dvc"]
    if broken := [file for file in visible if file.is_symlink() and not file.is_file()]:
        what, hint = "a link to a folder, or to nothing", "dvc pull, git annex get, or copy it"
        raise Problems([Problem(str(link), what, "a file", hint) for link in broken])
    return [file for file in visible if file.is_file()]


def is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def name_problems(path: Path) -> list[Problem]:
    """The Problem of a name that is not UTF-8, also of a hidden file: neither DVC nor a table of rows can store it."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        folder, name = (os.fsencode(part).decode(errors="backslashreplace") for part in (path.parent, path.name))
        pattern = re.sub(r"(\\x[0-9a-f]{2})+", "*", name)
        hint = f"cd {folder} && mv -- {pattern} NEW_NAME"
        return [Problem(folder, f"a name that is not UTF-8: {name}", "names in UTF-8", hint)]
    return []


# -- files that are not data ------------------------------------------------------------------------------------------


def non_data_role(path: Path) -> str:
    """What a file in a folder of raw data is, if it is not data, else ""."""
    name = path.name.lower()
    if name in DESCRIPTIONS or not DATA_SUFFIXES & set(path.suffixes):
        role = next((role for pattern, role in NON_DATA_NAMES.items() if re.fullmatch(pattern, name)), "")
        return role or "a dataset card" * (name.endswith(".md") and first_bytes(path, 4).rstrip() == b"---")
    if name == "state.json":
        return "the state of a saved dataset" * (saved_files(path.parent) is not None)
    if path.suffix == ".arrow":
        saved = saved_files(path.parent)
        # `map` writes its caches into the folder that a dataset was loaded from
        return "a cache: state.json beside it does not list it" * (saved is not None and path.name not in saved)
    return ""


def saved_files(folder: Path) -> set[str] | None:
    """The names of the Arrow files that `datasets.Dataset.save_to_disk` wrote to a folder; None if it did not."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        return {entry["filename"] for entry in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def first_bytes(path: Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def eval_split_pattern(path: Path, raw: str) -> str:
    """The pattern for a file, or for its folder, that is named after a split not for training (test, dev, ...), else ""."""
    parts = path.relative_to(raw).parts if path != Path(raw) else ()
    for depth, part in enumerate(parts, 1):
        if re.search(r"(?<![a-z])(test|tests|validation|valid|val|dev|eval)(?![a-z])", part, re.IGNORECASE):
            return "/".join(parts[:depth]) + "/*" * (depth < len(parts))
    return ""


# -- patterns ---------------------------------------------------------------------------------------------------------


def fits_pattern(path: str | Path, pattern: str, raw: str | Path) -> bool:
    """True if a pattern matches a file's path, from the root or from the dataset's folder. `*` matches `/` too."""
    return fnmatchcase(Path(path).as_posix(), pattern) or fnmatchcase(path_in_dataset(path, raw).as_posix(), pattern)


def path_in_dataset(path: str | Path, raw: str | Path) -> Path:
    """A file's path from the dataset's folder, or its name if the dataset is that one file."""
    path, raw = Path(path), Path(raw)
    return path.relative_to(raw if raw != path else raw.parent)


def pattern_problems(
    where: str, patterns: Iterable[str], files: Sequence[str | Path], raw: str | Path
) -> list[Problem]:
    """A Problem for each pattern that matches none of the files."""
    unmatched = [pattern for pattern in patterns if not any(fits_pattern(file, pattern, raw) for file in files)]
    expected = "a path, or a pattern such as 'test*'"
    return [
        Problem(where, f"no file fits {pattern!r}", expected, suggest_files(pattern, files, raw))
        for pattern in unmatched
    ]


def suggest_files(pattern: str, files: Sequence[str | Path], raw: str | Path) -> str:
    """`did you mean 'sub/test.jsonl'?`, by the whole path or the bare name, else the files of the dataset."""
    path_by_word, wanted = {}, pattern.removeprefix(f"{Path(raw).as_posix()}/").strip("*?/")
    for path in sorted(path_in_dataset(file, raw) for file in files):
        for word in (path.as_posix(), path.name, path.name.partition(".")[0]):
            path_by_word.setdefault(word, path.as_posix())
    matches = difflib.get_close_matches(wanted, path_by_word, n=1) or difflib.get_close_matches(
        wanted.rpartition("/")[2], path_by_word, n=1
    )
    return (
        f"did you mean {path_by_word[matches[0]]!r}?"
        if matches
        else f"files there: {shorten_list(sorted(set(path_by_word.values())))}"
    )


def shorten_list(names: Iterable[object]) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + f" and {len(names) - 5:,} more" * (len(names) > 5)
