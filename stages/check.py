"""Check params.yaml as a whole, and that the raw files it names can be read, before anything is built.

params.yaml -> .build/params/: params.yaml with every default filled in, for each stage a file with the keys that it reads

A stage depends on its own file alone, so only its content counts: a new comment, or a default that is written out, runs this
stage and no other. Where there is a mistake, nothing is written and the old files stay.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from stages.core import stage_params
from stages.core.dvc_cache import cache_folder
from stages.core.params import Params
from stages.reading.containers import detect_container
from stages.reading.files import eval_split_pattern, fits_pattern, listing, pattern_problems
from stages.reading.links import outside_link_problems
from stages.reading.readers import records
from stages.rows.columns import as_list
from stages.scoring.harness import task_problems
from validators import params
from validators._by_file import RIGHTS_KEYS
from validators._cautions import FileCaution
from validators._judge import missing_key
from validators._rights import RightsCaution, unlicensed_file_cautions
from validators.problems import Problem, Problems

Entry = dict[str, Any]  # params.yaml as plain data, or an entry of it
Patterns = Mapping[str, Sequence[str]]  # {key of a dataset's entry: patterns of its files}
NO_PATTERNS: Patterns = {"exclude": (), "eval": (), "weights": ()}
# (stage, section, what the stage makes, the entry, a function that returns the params that the stage reads)
Source = tuple[str, str, str, Entry, Callable[[], Params]]


class Warned(Protocol):
    """A warning; its text is `str()` of it. waived: the reason of its waiver."""

    @property
    def waived(self) -> str | None: ...


def main() -> None:
    data = params.read_params_yaml()
    print_warnings(check(data))
    stage_params.write_stage_params(params.fill_defaults(data))


def print_warnings(warnings: Iterable[Warned]) -> None:
    """Print each warning, and each waiver with its reason."""
    for warning in warnings:
        print(f"{'waived' if warning.waived is not None else 'warning'}: {warning}")


def check(data: Entry) -> list[Warned]:
    """The warnings of params.yaml, read as plain data. Raises Problems with every mistake in it and in the raw files that it names."""
    problems, cautions = params.examine(data)
    warnings: list[Warned] = [*cautions]
    problems = drop_source_problems(problems, data)
    datasets = data.get("datasets")
    for name, dataset in datasets.items() if isinstance(datasets, dict) else ():
        raw = dataset.get("raw") if isinstance(dataset, dict) else None
        if isinstance(raw, str):
            columns = dataset.get("columns")
            numbered = isinstance(columns, dict) and any(
                isinstance(name, int) for names in columns.values() for name in as_list(names)
            )
            of_raw = raw_problems(f"{params.PARAMS_FILE}: datasets.{name}.raw", raw, numbered, patterns_of(dataset))
            problems += of_raw
            warnings += [] if of_raw else split_warnings(name, dataset)
            if not problems:  # keys with patterns of raw files are checked once all the rest is right
                of_files, more = check_file_patterns(name, dataset, data)
                problems, warnings = problems + of_files, warnings + more
    problems += params.missing_packages(params.get_section(data, "steps"), params.get_section(data, "difficulty"))
    evaluate = data.get("evaluate")
    harness = evaluate.get("lm_eval") if isinstance(evaluate, dict) else None
    if isinstance(harness, dict) and not any(p.where.startswith(f"{params.PARAMS_FILE}: evaluate") for p in problems):
        problems += task_problems(harness["tasks"])
    if problems:
        raise Problems(problems)
    return warnings + missing_key(data["evaluate"].get("judge"))


# -- a model whose source is on another machine ---------------------------------------------------------------------


def drop_source_problems(problems: list[Problem], data: Entry) -> list[Problem]:
    """Problems without those of a missing source of a base model or judge that is built already; the others get a hint.

    A colleague who pulled has models/base, but not the folder or .gguf file that it was made from.
    """
    for stage, section, out, entry, stage_reads in model_sources(data):
        model = entry.get("model")
        if not isinstance(model, str) or Path(model).exists():
            continue
        places = [f"{params.PARAMS_FILE}: {section}.{key}" for key in ("model", "revision")]
        of_source = [problem for problem in problems if problem.where in places]
        if not of_source or (entry.get("revision") and "/" in model):
            continue
        hint = missing_source_hint(stage, section, out, stage_reads)
        rest = [problem for problem in problems if problem not in of_source]
        problems = (
            rest
            if hint is None
            else [replace(each, hint=each.hint or hint) if each in of_source else each for each in problems]
        )
    return problems


def model_sources(data: Entry) -> Iterator[Source]:
    """The Source of the base model, and of a judge that runs on this machine."""
    base, evaluate = data.get("base"), data.get("evaluate")
    if isinstance(base, dict):
        yield (
            "base",
            "base",
            "models/base",
            base,
            lambda: stage_params.base_params({"base": params.Base.model_validate(base).model_dump()}),
        )
    judge = evaluate.get("judge") if isinstance(evaluate, dict) else None
    if isinstance(judge, dict) and not judge.get("server"):
        yield (
            "judge",
            "evaluate.judge",
            "judge",
            judge,
            lambda: stage_params.judge_params({"evaluate": {"judge": params.Judge.model_validate(judge).model_dump()}}),
        )


def missing_source_hint(stage: str, section: str, out: str, stage_reads: Callable[[], Params]) -> str | None:
    """None where the model of this entry is built and there, else what to type. stage_reads: see `Source`.

    dvc.lock has the hashes of what it was built from: the params that the stage reads, and its code.
    """
    entry = lock_entry(stage)
    if entry is None:
        return "put it there; or, if a colleague built it: git pull, dvc pull"
    deps, outs = ({item["path"]: item.get("md5") for item in entry.get(key) or ()} for key in ("deps", "outs"))
    try:
        text = stage_params.params_text(stage_reads())
        code = Path(f".build/code/{stage}").read_bytes()
    except (ValidationError, OSError):
        return "put it there"
    if deps.get(f".build/params/{stage}.json") != md5_of(text.encode()):
        return f"put it there: {out} was built from another `{section}` entry, and is built anew"
    if deps.get(f".build/code/{stage}") != md5_of(code):
        return f"put it there: {out} was built by other code, and is built anew"
    return None if has_model(out, outs.get(out) or "") else f"dvc pull {out} brings what was built from it"


def lock_entry(stage: str) -> Entry | None:
    """The entry of a stage in dvc.lock; None where there is none, or it cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        lock = YAML(typ="safe", pure=True).load(Path("dvc.lock"))
        return lock["stages"][stage]
    except (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError):
        return None


def has_model(folder: str, md5: str) -> bool:
    """Whether a model is there, or the cache has all of it. md5: of the folder, as DVC has it."""
    if Path(folder, "config.json").is_file():
        return True
    cache = cache_folder()
    try:
        files = json.loads((cache / md5[:2] / md5[2:]).read_bytes())
        return all((cache / file["md5"][:2] / file["md5"][2:]).is_file() for file in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# -- raw files ------------------------------------------------------------------------------------------------------


def check_file_patterns(name: str, dataset: Entry, data: Entry) -> tuple[list[Problem], list[RightsCaution]]:
    """(problems, warnings) of the keys of a dataset that have values by pattern of its raw files."""
    raw, expires = dataset["raw"], (data.get("expires") or {}).get(name)
    files = [path.as_posix() for path in listing(raw, exclude=patterns_of(dataset)["exclude"]).data]
    values = {f"datasets.{name}.{key}": dataset.get(key) for key in RIGHTS_KEYS} | {f"expires.{name}": expires}
    problems = [
        problem
        for where, value in values.items()
        if isinstance(value, dict)
        for problem in pattern_problems(f"{params.PARAMS_FILE}: {where}", value, files, raw)
    ]
    return problems, unlicensed_file_cautions(name, dataset, files, data.get("license"))


def patterns_of(dataset: Entry) -> Patterns:
    """{key: patterns} of the keys of a dataset's entry that name files; () for a value of a wrong type, which the schema reports."""
    values = {key: dataset.get(key) for key in NO_PATTERNS}
    return {key: [*map(str, value)] if isinstance(value, list | dict) else () for key, value in values.items()}


def split_warnings(name: str, dataset: Entry) -> list[FileCaution]:
    """A warning of files whose names are those of a test set, where the entry does not say what they are for."""
    patterns, raw = patterns_of(dataset), dataset["raw"]
    files = listing(raw, exclude=patterns["exclude"]).data
    pinned = [file for file in files if any(fits_pattern(file, pattern, raw) for pattern in patterns["eval"])]
    named = [file for file in files if eval_split_pattern(file, raw) and file not in pinned]
    if len(files) < 2 or not named or dataset.get("eval") == []:  # an empty list means that they are for training
        return []
    return [FileCaution(name, [file.as_posix() for file in named], eval_split_pattern(named[0], raw))]


def raw_problems(where: str, raw: str, numbered: bool = False, patterns: Patterns = NO_PATTERNS) -> list[Problem]:
    """What is wrong with the raw files of a dataset: outside the project, missing, empty, not data.

    numbered: its `columns:` are numbers, as a CSV file without a header line needs.
    """
    root = Path.cwd().resolve()
    if not raw or Path(raw).is_absolute() or not Path(os.path.normpath(root / raw)).is_relative_to(root):
        return [
            Problem(
                where,
                f"{raw!r} is outside the project",
                "a path inside it, relative to params.yaml",
                "copy the data to data/raw/, or `dvc import-url` it there",
            )
        ]
    if problems := outside_link_problems(raw):
        return problems
    try:
        files = listing(raw, where, patterns["exclude"])
    except Problems as error:
        return error.problems
    for key, wanted in patterns.items():
        among = [*files.data, *files.others] if key == "exclude" else files.data
        problems += pattern_problems(where.removesuffix("raw") + key, wanted, among, raw)
    for path in files.data:
        try:
            kind = detect_container(path)
            if kind.startswith("csv"):
                next(records(path, kind, numbered), None)
            elif numbered:
                hint = "give the names of its keys in `columns:`"
                problems.append(
                    Problem(str(path), "columns by number, but the file names its columns", "CSV or TSV", hint)
                )
        except Problems as error:
            problems += error.problems
    return problems
