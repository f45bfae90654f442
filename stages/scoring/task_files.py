"""Checks that the task files of the lm-evaluation-harness in `data/tasks/` are data only: a setting that would run code is a Problem.

    data/tasks/x.yaml: process_docs: '!function helper.clean' names Python code; expected settings and templates alone

The harness imports what `!function` names, renders templates in an open Jinja environment, and passes settings on to
libraries, some of which load code or pickles. Its own tasks are the library's code, and are not checked here.
"""

import os
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from validators.problems import Problem

if TYPE_CHECKING:
    from yaml import Node

Tag = tuple[str, str, str]  # (key, tag, text) of a value with a tag that is not YAML's own
TASKS = Path("data/tasks")
DATA_FORMATS = ("csv", "json", "parquet", "text")
# options of `datasets` for reading files; any other key reaches code of the harness's tasks (`tokenizer`), or names a protocol
READING_KEYS = {
    "column_names", "columns", "data_dir", "data_files", "delimiter", "encoding", "encoding_errors", "escapechar", "field",
    "header", "keep_linebreaks", "names", "quotechar", "quoting", "revision", "sample_by", "sep", "skiprows", "usecols",
}  # fmt: skip
CODE_KEYS = {
    "class": "names Python code",
    "custom_dataset": "names Python code",
    "unsafe_code": "is for tasks that run code which a model wrote",
}
GENERATION_CODE_KEYS = {
    "custom_generate": "runs a generate.py",
    "trust_remote_code": "runs code that comes with a model",
}


def task_file_problems() -> list[Problem]:
    """Problems for everything in `data/tasks/`, and in the files it includes, that would run code or read from elsewhere."""
    todo = sorted(path for path in TASKS.rglob("*.yaml") if path.is_file())
    problems, seen = [outside_problem(path) for path in sorted(TASKS.rglob("*")) if leaves_project(path, Path())], set()
    while todo:
        path = todo.pop(0)
        if path in seen or leaves_project(path, Path()):
            continue
        seen.add(path)
        config, tags = read_yaml(path)
        if not isinstance(config, dict):
            problems.append(Problem(str(path), "not a task file", "YAML with the settings of a task or a group"))
            continue
        hint = "write a Jinja template, or the data as the task needs them"
        problems += [
            setting_problem(path, key, repr(f"{tag} {text}".strip()), "names Python code", hint)
            for key, tag, text in tags
        ]
        problems += setting_problems(path, config)
        included, missing = included_files(path, config.get("include"))
        todo += included
        problems += missing
    return problems


def setting_problem(path: Path, key: str, found: str, why: str, hint: str) -> Problem:
    where = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in f"{path}: {key}")
    return Problem(where, f"{found} {why}", "settings and templates alone", hint)


def as_mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def outside_problem(path: Path) -> Problem:
    return Problem(str(path), "a link that leaves the project", "a file inside it", "replace the link by the file")


def leaves_project(path: str | Path, folder: Path) -> bool:
    """Whether a path, relative to a folder of the project, ends outside of the project."""
    return not Path(os.path.realpath(folder / path)).is_relative_to(Path.cwd().resolve())


def read_yaml(path: Path) -> tuple[Any, list[Tag]]:
    """(what a file holds, None where it is not YAML; its Tags).

    It uses the harness's parser, so that both read the same. No object is made of a tag.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        pass

    Loader.add_constructor(None, lambda loader, node: None)
    try:
        loader = Loader(path.read_bytes())
        node = loader.get_single_node()
        tags = sorted(tagged_nodes(node, set(yaml.SafeLoader.yaml_constructors)))
        return loader.construct_document(node), [tag[1:] for tag in tags]
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError):  # ValueError: a date such as 2024-13-01
        return None, []


def tagged_nodes(root: "Node", own: Set[str]) -> Iterator[tuple[int, str, str, str]]:
    """(place, key, tag, text) of each node under a node whose tag is not among `own`."""
    from yaml import MappingNode, SequenceNode

    todo, seen = [("", root)], set()
    while todo:
        key, node = todo.pop()
        if id(node) in seen:  # an alias names it again, perhaps from inside itself
            continue
        seen.add(id(node))
        if node.tag not in own | {"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"}:
            text = node.value if isinstance(node.value, str) else ""
            yield node.start_mark.index, key, node.tag.replace("tag:yaml.org,2002:", "!!"), text
        if isinstance(node, MappingNode):
            for name, value in node.value:
                todo += [(key, name), (f"{key}.{name.value}".lstrip("."), value)]
        elif isinstance(node, SequenceNode):
            todo += [(f"{key}[{number}]", item) for number, item in enumerate(node.value)]


def included_files(path: Path, include: Any) -> tuple[list[Path], list[Problem]]:
    """([files that a file includes], Problems of those that are outside of the project or are not files)."""
    files, problems = [], []
    for name in include if isinstance(include, list) else [include] if include else []:
        if not isinstance(name, str) or leaves_project(name, path.parent) or not (path.parent / name).is_file():
            found, expected = f"{name!r} is not a file of the project", "a path relative to this file"
            problems.append(Problem(f"{path}: include", found, expected))
        else:
            files.append(path.parent / name)
    return files, problems


def setting_problems(path: Path, config: dict[Any, Any], where: str = "") -> list[Problem]:
    """Problems for the settings of a task or a group. where: the entry of a group's `task:` list that holds them, or ""."""
    problems = [
        setting_problem(path, where + key, f"{config[key]!r}", why, "take it out")
        for key, why in CODE_KEYS.items()
        if config.get(key) is not None
    ]
    generating = as_mapping(config.get("generation_kwargs"))
    problems += [
        setting_problem(path, f"{where}generation_kwargs.{key}", f"{generating[key]!r}", why, "take it out")
        for key, why in GENERATION_CODE_KEYS.items()
        if key in generating
    ]
    problems += data_problems(path, config, where) + metric_problems(path, config, where)
    prompt = config.get("use_prompt")
    if prompt is not None and not str(prompt).startswith("qa-basic:"):
        hint = "write it as doc_to_text and doc_to_target"
        problems.append(
            setting_problem(path, f"{where}use_prompt", f"{prompt!r}", "is a template of another file", hint)
        )
    others = sorted(map(repr, set(as_mapping(config.get("metadata"))) - {"version"})) if where else []
    if others:
        why, hint = "would reach code of the harness's own tasks", "take it out"
        problems.append(setting_problem(path, f"{where}metadata", ", ".join(others), why, hint))
    members = config.get("task")
    for number, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, dict):
            problems += setting_problems(path, member, f"{where}task[{number}].")
    return problems


def data_problems(path: Path, config: dict[Any, Any], where: str) -> list[Problem]:
    """Problems for data that would come with code, from a pickle, or from outside of the project."""
    problems: list[Problem] = []
    named = config.get("dataset_path")
    hint = f"dataset_path: {', '.join(DATA_FORMATS[:-1])} or {DATA_FORMATS[-1]}, and the files in dataset_kwargs.data_files"
    if isinstance(named, str):
        why = (
            "reads pickles, which run code" if named == "pandas"
            else "is a script" if named.endswith(".py")
            else "is a folder, whose README may name files elsewhere" if named not in DATA_FORMATS and Path(named).is_dir()
            else "is not the name of a dataset on the Hub" if is_elsewhere(named)
            else None
        )  # fmt: skip
        problems += [setting_problem(path, f"{where}dataset_path", repr(named), why, hint)] if why else []
    for key, value in as_mapping(config.get("dataset_kwargs")).items():
        if key not in READING_KEYS:
            why, advice = "is not about reading files", f"known: {', '.join(sorted(READING_KEYS))}"
            problems.append(setting_problem(path, f"{where}dataset_kwargs.{key}", repr(value), why, advice))
        elif key in ("data_files", "data_dir"):
            why, advice = "is outside the project", "copy it to data/tasks/"
            problems += [
                setting_problem(path, f"{where}dataset_kwargs.{key}", repr(text), why, advice)
                for text in texts_in(value)
                if is_elsewhere(text)
            ]
    return problems


def is_elsewhere(text: str) -> bool:
    """Whether a path of data is on another machine, behind a chain of protocols, or outside the project."""
    return "://" in text or "::" in text or leaves_project(text, Path())


def texts_in(value: Any) -> list[str]:
    """Every text in a setting that may nest lists and mappings."""
    if isinstance(value, (list, dict)):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in texts_in(item)]
    return [str(value)]


def metric_problems(path: Path, config: dict[Any, Any], where: str) -> list[Problem]:
    """Problems for metrics that are not the harness's: it would load a script of that name, from the Hub or from a file."""
    listed = config.get("metric_list")
    metrics = [metric for metric in listed if isinstance(metric, dict)] if isinstance(listed, list) else []
    if not metrics:
        return []  # the harness takes half a second to import

    import lm_eval.api.metrics  # noqa: F401 - the import registers them
    from lm_eval.api.registry import metric_registry

    return [
        setting_problem(
            path,
            f"{where}metric_list",
            repr(metric["metric"]),
            "is a script to be loaded",
            f"metrics of the harness: {', '.join(sorted(metric_registry))}",
        )
        for metric in metrics
        if metric.get("metric") is not None
        and (metric.get("hf_evaluate") or str(metric["metric"]) not in metric_registry)
    ]


def sandbox_templates() -> None:
    """Make the harness render templates in a sandbox, as transformers does for chats: they reach their arguments only."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from lm_eval import utils

    given = utils.env
    utils.env = ImmutableSandboxedEnvironment(
        loader=given.loader, undefined=given.undefined, keep_trailing_newline=given.keep_trailing_newline
    )
    utils.env.filters.update(given.filters)
