"""Tasks of EleutherAI's lm-evaluation-harness, named in `evaluate.lm_eval`, as scores like all others.

    tasks = load_tasks({"tasks": ["arc_easy"]}, seed=7)["arc_easy"]
    run_tasks(model, tasks, ...) -> {"arc_easy": Ran({"acc,none": 0.61, "acc_stderr,none": 0.02, ...}, a row for each document)}

A task comes from `data/tasks/`, which `evaluate` depends on, or from the harness's own collection. Nothing is
downloaded: the data of a task lies in `data/tasks/`, or in the cache of Hugging Face on this machine. Files of `data/tasks/`
are data: what of them would run code is a Problem (`stages/scoring/task_files.py`), and templates are rendered in a sandbox.
Values and standard errors are the harness's. Each name is run by itself, so that one more leaves the others as they are:
an edit of this module runs all of them again, and what only scores stands in `stages/scoring/harness_scores.py`.
"""

import importlib.util
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from stages.scoring.task_files import TASKS, sandbox_templates, task_file_problems
from validators.problems import Problem, Problems, did_you_mean

WHERE = "evaluate.lm_eval.tasks"
NOT_INSTALLED = Problem(
    "evaluate.lm_eval",
    "lm-evaluation-harness is not installed",
    "the package lm_eval",
    "pip install --constraint constraints.txt --editable '.[lm-eval]', or evaluate.lm_eval: null",
)
BOOTSTRAP_RESAMPLES = 1000  # resamples of metrics that know their standard error no other way
TASK_NAME = re.compile(r"^\s*-?\s*(?:task|group|tag):\s*(\S+)\s*$", re.MULTILINE)


def task_problems(names):
    """What is wrong with tasks: no harness, files of `data/tasks/` that are more than data, names that nobody has."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None:
        return [NOT_INSTALLED]
    # the harness's index of its own tasks takes many seconds to read; a look at their text finds most names in one
    folders = [TASKS, Path(spec.submodule_search_locations[0], "tasks")]
    unseen = set(names)
    for path in (path for folder in folders for path in folder.rglob("*.yaml")):
        if not unseen:
            break
        unseen -= {name.strip("\"'") for name in TASK_NAME.findall(path.read_text(encoding="utf-8", errors="replace"))}
    known = task_manager(defaults=True).all_tasks if unseen else []
    return task_file_problems() + [
        Problem(
            WHERE, f"no task {name!r}", "a task of the harness, or of a file in data/tasks/", did_you_mean(name, known)
        )
        for name in names
        if name in unseen.difference(known)
    ]


def task_manager(defaults):
    """The harness's tasks by name; its own collection, which takes many seconds to read, only if `defaults`.

    Templates, its own tasks' too, are rendered in a sandbox from here on.
    """
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    sandbox_templates()
    return TaskManager(include_path=str(TASKS) if TASKS.is_dir() else None, include_defaults=defaults)


@dataclass
class TaskResult:
    """What the harness found of a task or a group. values: its own names and numbers. documents: a row for each of a task."""

    values: dict
    documents: pa.Table


def run_tasks(model, tasks: dict, wanted: dict, seed: int) -> dict[str, TaskResult]:
    """{task or group: Ran} of one name, as `load_tasks` gives it. wanted: `evaluate.lm_eval` of params.yaml."""
    import os

    from jinja2.exceptions import SecurityError
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import set_seed

    os.environ["DISABLE_MULTIPROC"] = "1"  # its bootstrap would fork a process that holds a model
    set_seed(seed)
    try:
        found = call_quietly(
            evaluate,
            HFLM(
                pretrained=model.model,
                tokenizer=model.tokenizer,
                batch_size=model.batch_size,
                chat_template_args=dict(model.render.options),
                # what a task reads is the answer, here too
                think_end_token=model.thoughts.closing
                if wanted["apply_chat_template"] and model.thoughts.shown
                else None,
            ),
            tasks,
            limit=wanted["limit"],
            apply_chat_template=wanted["apply_chat_template"],
            bootstrap_iters=BOOTSTRAP_RESAMPLES,
        )
    except SecurityError as error:  # of what is not rendered when a task is loaded, such as its description
        raise Problems([template_problem(error, " or ".join(wanted["tasks"]))]) from None
    return {
        task: TaskResult(numbers_of(values), document_table(task, found["samples"].get(task, [])))
        for task, values in sorted((found["results"] | found.get("groups", {})).items())
    }


def numbers_of(values: dict) -> dict:
    """What of the harness's results can be kept: numbers, and texts that stand for none, such as `N/A`."""
    return {key: value for key, value in values.items() if isinstance(value, (int, float, str))}


def task_names(tasks: dict) -> list[str]:
    """The tasks and groups of one name, as `load_tasks` gives it."""
    return sorted({*tasks["tasks"], *tasks["groups"]})


def task_facts(tasks: dict, wanted: dict) -> dict:
    """All that decides what one name gives, but the model: settings of its tasks, their documents, the harness itself."""
    import importlib.metadata

    options = {key: wanted[key] for key in ("limit", "num_fewshot", "apply_chat_template")}
    groups = {
        name: [repr(group.aggregate_metric_list), sorted(str(child) for child in group)]
        for name, group in tasks["groups"].items()
    }
    each = {
        name: [task.dump_config(), list(islice(task.eval_docs, wanted["limit"])), few_shot_documents(task)]
        for name, task in tasks["tasks"].items()
    }
    return {"options": options, "groups": groups, "tasks": each, "version": importlib.metadata.version("lm_eval")}


def few_shot_documents(task):
    """The documents that few-shot examples are drawn from, where there are any."""
    return list(task.fewshot_docs() or ()) if task.get_config("num_fewshot") else []


def call_quietly(call, *arguments, **options):
    """What a call returns, without what it prints; without its progress bars too, where nobody watches."""
    import contextlib
    import io
    import sys

    with contextlib.redirect_stdout(io.StringIO()):
        if sys.stderr.isatty():
            return call(*arguments, **options)
        with contextlib.redirect_stderr(io.StringIO()):
            return call(*arguments, **options)


def load_tasks(wanted, seed):
    """{name: the harness's tasks and groups of it}, ready to run. Raises Problems where one is unknown, unsafe, or its data is not here.

    wanted: `evaluate.lm_eval` of params.yaml.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise Problems([NOT_INSTALLED])
    if problems := task_file_problems():
        raise Problems(problems)
    names, num_fewshot = wanted["tasks"], wanted["num_fewshot"]
    local = task_manager(defaults=False)
    tasks = local if set(names) <= set(local.all_tasks) else task_manager(defaults=True)
    found, problems = {}, []
    for name in names:
        if name not in tasks.all_tasks:  # it would be taken for the path of a task file, wherever that lies
            hint = did_you_mean(name, tasks.all_tasks)
            problems.append(Problem(WHERE, f"no task {name!r}", "a task of the harness or of data/tasks/", hint))
            continue
        try:
            loaded = call_quietly(tasks.load, name)
        except Exception as error:  # whatever a task file, its code and its data may raise
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
        found[name] = {part: loaded[part] for part in ("tasks", "groups")}
    if problems:
        raise Problems(problems)
    for task in (task for loaded in found.values() for task in loaded["tasks"].values()):
        given = task.get_config("num_fewshot")
        # as the harness does: a task that says 0 itself stays at 0
        task.set_config(key="num_fewshot", value=given or 0 if num_fewshot is None or given == 0 else num_fewshot)
        task.set_fewshot_seed(seed=seed)
    return found


def load_problem(name, error):
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


def template_problem(error, task):
    found = f"a template of {task} does what the sandbox forbids: {error}"
    hint = "look at the file before you trust it"
    return Problem(WHERE, found, "a template that reads the fields of its document", hint)


# -- what the harness found of each document ------------------------------------------------------------------------


def metric_name(metric, by):
    return metric if by == "none" else f"{metric}/{by}"


def document_table(task, samples):
    """A row for each document: what each metric gave where that is a number, and what the model said where it spoke."""
    rows = {}
    for sample in samples:
        origin = {"dataset": f"lm_eval/{task}", "id": f"{sample['doc_id']}:{sample['doc_hash'][:16]}"}
        row = rows.setdefault(sample["doc_id"], origin)
        said = sample["resps"][0][0]
        if isinstance(said, str):
            row["generation"] = said
        for metric in sample["metrics"]:
            if isinstance(sample[metric], (int, float)):
                row[f"lm_eval/{metric_name(metric, sample['filter'])}"] = float(sample[metric])
    columns = sorted({column for row in rows.values() for column in row})
    return pa.table({column: [rows[number].get(column) for number in sorted(rows)] for column in columns})
