"""Tasks of EleutherAI's lm-evaluation-harness, named in `evaluate.lm_eval`, as scores like all others.

    tasks = load_tasks({"tasks": ["arc_easy"]}, seed=7)["arc_easy"]
    run_tasks(model, tasks, ...) -> {"arc_easy": TaskResult({"acc,none": 0.61, "acc_stderr,none": 0.02, ...}, a row for each document)}

A task comes from `data/tasks/`, which `evaluate` depends on, or from the harness's own collection. Nothing is
downloaded: the data of a task lies in `data/tasks/`, or in the cache of Hugging Face on this machine. Files of `data/tasks/`
are data: anything in them that would run code is a Problem (`stages/scoring/task_files.py`), and a sandbox renders templates.
Values and standard errors are the harness's. Each name is run by itself, so that a new name does not rerun the others.
An edit of this module reruns all of them: code that only scores stands in `stages/scoring/harness_scores.py`.
"""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.scoring.generation import LoadedModel
from stages.scoring.task_files import TASKS, sandbox_templates, task_file_problems
from validators.problems import Problem, Problems, did_you_mean

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

Tasks = dict[str, Any]  # what the harness has loaded of one name: {"tasks": {name: Task}, "groups": {name: Group}}
WHERE = "evaluate.lm_eval.tasks"
NOT_INSTALLED = Problem(
    "evaluate.lm_eval",
    "lm-evaluation-harness is not installed",
    "the package lm_eval",
    "pip install --constraint constraints.txt --editable '.[lm-eval]', or evaluate.lm_eval: null",
)
BOOTSTRAP_RESAMPLES = 1000  # for metrics without a formula for their standard error
TASK_NAME = re.compile(r"^\s*-?\s*(?:task|group|tag):\s*(\S+)\s*$", re.MULTILINE)


def task_problems(names: list[str]) -> list[Problem]:
    """What is wrong with tasks: no harness, files of `data/tasks/` that would run code, unknown task names."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.submodule_search_locations is None:
        return [NOT_INSTALLED]
    # the harness's index of its own tasks takes many seconds to read; a search of the files' text finds most names in one
    folders = [TASKS, Path(spec.submodule_search_locations[0], "tasks")]
    unknown = set(names)
    for path in (path for folder in folders for path in folder.rglob("*.yaml")):
        if not unknown:
            break
        unknown -= {name.strip("\"'") for name in TASK_NAME.findall(path.read_text(encoding="utf-8", errors="replace"))}
    known = task_manager(defaults=True).all_tasks if unknown else []
    return task_file_problems() + [
        Problem(
            WHERE, f"no task {name!r}", "a task of the harness, or of a file in data/tasks/", did_you_mean(name, known)
        )
        for name in names
        if name in unknown.difference(known)
    ]


def task_manager(defaults: bool) -> "TaskManager":
    """The harness's tasks by name; its own collection, which takes many seconds to read, only if `defaults`.

    From here on a sandbox renders all templates, also those of its own tasks.
    """
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    sandbox_templates()
    return TaskManager(include_path=str(TASKS) if TASKS.is_dir() else None, include_defaults=defaults)


@dataclass
class TaskResult:
    """The harness's result of a task or a group. values: its own names and numbers. documents: a row for each document of a task."""

    values: dict[str, Any]
    documents: pa.Table


def run_tasks(model: LoadedModel, tasks: Tasks, options: dict[str, Any], seed: int) -> dict[str, TaskResult]:
    """{task or group: TaskResult} of one name, as `load_tasks` returns it. options: `evaluate.lm_eval` of params.yaml."""
    import os

    from jinja2.exceptions import SecurityError
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import set_seed

    os.environ["DISABLE_MULTIPROC"] = "1"  # its bootstrap would fork this process, which holds a model
    set_seed(seed)
    try:
        results = call_quietly(
            evaluate,
            HFLM(
                pretrained=model.model,
                tokenizer=model.tokenizer,  # ty: ignore[invalid-argument-type]  # PreTrainedTokenizerBase is the base of both
                batch_size=model.batch_size,
                chat_template_args=dict(model.render.options),
                # a task reads the answer without its thought, as metrics do
                think_end_token=model.thoughts.closing
                if options["apply_chat_template"] and model.thoughts.shown
                else None,
            ),
            tasks,
            limit=options["limit"],
            apply_chat_template=options["apply_chat_template"],
            bootstrap_iters=BOOTSTRAP_RESAMPLES,
        )
    except SecurityError as error:  # of a template that loading does not render, such as the description
        raise Problems([template_problem(error, " or ".join(options["tasks"]))]) from None
    return {
        task: TaskResult(numbers_of(values), document_table(task, results["samples"].get(task, [])))
        for task, values in sorted((results["results"] | results.get("groups", {})).items())
    }


def numbers_of(values: dict[str, Any]) -> dict[str, Any]:
    """The results that the scores can hold: numbers, and texts in place of a number, such as `N/A`."""
    return {key: value for key, value in values.items() if isinstance(value, (int, float, str))}


def task_names(tasks: Tasks) -> list[str]:
    """The tasks and groups of one name, as `load_tasks` returns it."""
    return sorted({*tasks["tasks"], *tasks["groups"]})


def task_facts(tasks: Tasks, lm_eval: dict[str, Any]) -> dict[str, Any]:
    """All that decides the results of one name, except the model: settings of its tasks, their documents, the harness's version."""
    import importlib.metadata

    options = {key: lm_eval[key] for key in ("limit", "num_fewshot", "apply_chat_template")}
    groups = {
        name: [repr(group.aggregate_metric_list), sorted(str(child) for child in group)]
        for name, group in tasks["groups"].items()
    }
    each = {
        name: [task.dump_config(), list(islice(task.eval_docs, lm_eval["limit"])), few_shot_documents(task)]
        for name, task in tasks["tasks"].items()
    }
    return {"options": options, "groups": groups, "tasks": each, "version": importlib.metadata.version("lm_eval")}


def few_shot_documents(task: "Task") -> list[Any]:
    """The documents that few-shot examples are drawn from; [] without few-shot examples."""
    return list(task.fewshot_docs() or ()) if task.get_config("num_fewshot") else []


def call_quietly(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call returns, without what it prints; without its progress bars too, where stderr is not a terminal."""
    import contextlib
    import io
    import sys

    with contextlib.redirect_stdout(io.StringIO()):
        if sys.stderr.isatty():
            return call(*arguments, **options)
        with contextlib.redirect_stderr(io.StringIO()):
            return call(*arguments, **options)


def load_tasks(options: dict[str, Any], seed: int) -> dict[str, Tasks]:
    """{name: the harness's tasks and groups of it}, ready to run. Raises Problems where one is unknown, unsafe, or lacks its data.

    options: `evaluate.lm_eval` of params.yaml.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise Problems([NOT_INSTALLED])
    if problems := task_file_problems():
        raise Problems(problems)
    names, num_fewshot = options["tasks"], options["num_fewshot"]
    local = task_manager(defaults=False)
    tasks = local if set(names) <= set(local.all_tasks) else task_manager(defaults=True)
    loaded_by_name: dict[str, Tasks] = {}
    problems: list[Problem] = []
    for name in names:
        if name not in tasks.all_tasks:  # the harness would take it for the path of a task file, in any folder
            hint = did_you_mean(name, tasks.all_tasks)
            problems.append(Problem(WHERE, f"no task {name!r}", "a task of the harness or of data/tasks/", hint))
            continue
        try:
            loaded = call_quietly(tasks.load, name)
        except Exception as error:  # a task file, its code and its data may raise anything
            problems.append(load_problem(name, error))
            continue
        unsafe = [task for task, item in loaded["tasks"].items() if getattr(item, "UNSAFE_CODE", False)]
        problems += [
            Problem(
                WHERE,
                f"{task!r} runs code that a model wrote",
                "a task that does not",
                "run it in a sandbox, by itself",
            )
            for task in unsafe
        ]
        loaded_by_name[name] = {part: loaded[part] for part in ("tasks", "groups")}
    if problems:
        raise Problems(problems)
    for task in (task for loaded in loaded_by_name.values() for task in loaded["tasks"].values()):
        given = task.get_config("num_fewshot")
        # as the harness does: a task whose file says 0 stays at 0
        task.set_config(key="num_fewshot", value=given or 0 if num_fewshot is None or given == 0 else num_fewshot)
        task.set_fewshot_seed(seed=seed)
    return loaded_by_name


def load_problem(name: str, error: Exception) -> Problem:
    from jinja2.exceptions import SecurityError

    if isinstance(error, SecurityError):
        return template_problem(error, repr(name))
    text = " ".join(str(error).split())
    return Problem(
        WHERE,
        f"{name!r} does not load: {type(error).__name__}: {text[:300]}",
        "a task whose data is in data/tasks/, or in the cache of this machine",
        f"to fill the cache once, with a network: lm_eval run --model dummy --limit 1 --tasks {name}",
    )


def template_problem(error: Exception, task: str) -> Problem:
    found = f"a template of {task} does what the sandbox forbids: {error}"
    hint = "look at the file before you trust it"
    return Problem(WHERE, found, "a template that reads the fields of its document", hint)


# -- the results of each document -----------------------------------------------------------------------------------


def metric_name(metric: str, filter_name: str) -> str:
    return metric if filter_name == "none" else f"{metric}/{filter_name}"


def document_table(task: str, samples: list[dict[str, Any]]) -> pa.Table:
    """A row for each document: the value of each metric where it is a number, and the model's text where it generated one."""
    rows: dict[int, dict[str, Any]] = {}
    for sample in samples:
        origin = {"dataset": f"lm_eval/{task}", "id": f"{sample['doc_id']}:{sample['doc_hash'][:16]}"}
        row = rows.setdefault(sample["doc_id"], origin)
        response = sample["resps"][0][0]
        if isinstance(response, str):
            row["generation"] = response
        for metric in sample["metrics"]:
            if isinstance(sample[metric], (int, float)):
                row[f"lm_eval/{metric_name(metric, sample['filter'])}"] = float(sample[metric])
    columns = sorted({column for row in rows.values() for column in row})
    return pa.table({column: [rows[number].get(column) for number in sorted(rows)] for column in columns})
