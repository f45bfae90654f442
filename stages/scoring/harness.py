"""Tasks of EleutherAI's lm-evaluation-harness, named in `evaluate.lm_eval`, as scores like all others.

    tasks = load_tasks({"tasks": ["arc_easy"]}, seed=7)
    harness_scores(model, tasks, ...) -> {"lm_eval/arc_easy": {"acc": {"value": 0.61, "stderr": 0.02, ...}}}, [table]

A task comes from `data/tasks/`, which `evaluate` depends on, or from the harness's own collection. Nothing is
downloaded: the data of a task lies in `data/tasks/`, or in the cache of Hugging Face on this machine. Files of `data/tasks/`
are data: what of them would run code is a Problem (`stages/scoring/task_files.py`), and templates are rendered in a sandbox.
Values and standard errors are the harness's; where a value is a mean over documents, its change against the model
that the step started from is a paired one.
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.scoring import statistics
from stages.scoring.task_files import TASKS, file_problems, sandbox_templates
from validators.problems import Problem, Problems, did_you_mean

WHERE = "evaluate.lm_eval.tasks"
NOT_INSTALLED = Problem(
    "evaluate.lm_eval",
    "lm-evaluation-harness is not installed",
    "the package lm_eval",
    "pip install --constraint constraints.txt --editable '.[lm-eval]', or evaluate.lm_eval: null",
)
NAMED = re.compile(r"^\s*-?\s*(?:task|group|tag):\s*(\S+)\s*$", re.MULTILINE)


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
        unseen -= {name.strip("\"'") for name in NAMED.findall(path.read_text(encoding="utf-8", errors="replace"))}
    known = manager(defaults=True).all_tasks if unseen else []
    return file_problems() + [
        Problem(
            WHERE, f"no task {name!r}", "a task of the harness, or of a file in data/tasks/", did_you_mean(name, known)
        )
        for name in names
        if name in unseen.difference(known)
    ]


def manager(defaults):
    """The harness's tasks by name; its own collection, which takes many seconds to read, only if `defaults`.

    Templates, its own tasks' too, are rendered in a sandbox from here on.
    """
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    sandbox_templates()
    return TaskManager(include_path=str(TASKS) if TASKS.is_dir() else None, include_defaults=defaults)


def harness_scores(model, tasks, wanted, seed, parent):
    """(report, tables) of tasks as `load_tasks` gives them. wanted: `evaluate.lm_eval` of params.yaml.

    report: {"lm_eval/<task>": {metric: summary with "stderr"}}. tables: a row for each document of each task. parent: the
    table of scores of the model that this one started from, or None.
    """
    import os

    from jinja2.exceptions import SecurityError
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import set_seed

    os.environ["DISABLE_MULTIPROC"] = "1"  # its bootstrap would fork a process that holds a model
    set_seed(seed)
    try:
        found = quietly(
            evaluate,
            HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=model.batch_size),
            tasks,
            limit=wanted["limit"],
            apply_chat_template=wanted["apply_chat_template"],
            bootstrap_iters=statistics.RESAMPLES,
        )
    except SecurityError as error:  # of what is not rendered when a task is loaded, such as its description
        raise Problems([unsafe_template(error, " or ".join(wanted["tasks"]))]) from None
    report, tables = {}, []
    for task, values in sorted((found["results"] | found.get("groups", {})).items()):
        documents = table_of(task, found["samples"].get(task, []))
        before = parent.filter(pc.equal(parent["dataset"], f"lm_eval/{task}")) if parent else None
        scored = {
            metric: summary(value, error, values["sample_len"], *paired(metric, documents, before), seed)
            for metric, value, error in metrics_of(values)
        }
        report |= {f"lm_eval/{task}": scored} if scored else {}  # a group may be a name for its tasks, and no more
        tables += [documents] if documents.num_rows else []
    return report, tables


def quietly(call, *arguments, **options):
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
    """The harness's tasks, ready to run. Raises Problems where one is unknown, unsafe, or its data is not here.

    wanted: `evaluate.lm_eval` of params.yaml.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise Problems([NOT_INSTALLED])
    if problems := file_problems():
        raise Problems(problems)
    names, num_fewshot = wanted["tasks"], wanted["num_fewshot"]
    local = manager(defaults=False)
    tasks = local if set(names) <= set(local.all_tasks) else manager(defaults=True)
    found, problems = {"tasks": {}, "groups": {}}, []
    for name in names:
        if name not in tasks.all_tasks:  # it would be taken for the path of a task file, wherever that lies
            hint = did_you_mean(name, tasks.all_tasks)
            problems.append(Problem(WHERE, f"no task {name!r}", "a task of the harness or of data/tasks/", hint))
            continue
        try:
            loaded = quietly(tasks.load, name)
        except Exception as error:  # whatever a task file, its code and its data may raise
            problems.append(not_loaded(name, error))
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
        for part in found:
            found[part] |= loaded[part]
    if problems:
        raise Problems(problems)
    for task in found["tasks"].values():
        given = task.get_config("num_fewshot")
        # as the harness does: a task that says 0 itself stays at 0
        task.set_config(key="num_fewshot", value=given or 0 if num_fewshot is None or given == 0 else num_fewshot)
        task.set_fewshot_seed(seed=seed)
    return found


def not_loaded(name, error):
    from jinja2.exceptions import SecurityError

    if isinstance(error, SecurityError):
        return unsafe_template(error, repr(name))
    text = " ".join(str(error).split())
    return Problem(
        WHERE,
        f"{name!r} does not load: {type(error).__name__}: {text[:300]}",
        "a task whose data is in data/tasks/, or in the cache of this machine",
        f"to fill the cache once, with a network: lm_eval run --model dummy --limit 1 --tasks {name}",
    )


def unsafe_template(error, task):
    found = f"a template of {task} does what the sandbox forbids: {error}"
    hint = "look at the file before you trust it"
    return Problem(WHERE, found, "a template that reads the fields of its document", hint)


# -- what the harness found, as scores like all others --------------------------------------------------------------


def metrics_of(values):
    """(name, value, standard error or None) of each metric: `acc,none` is `acc`, `exact_match,strict` `exact_match/strict`."""
    for key, value in sorted(values.items()):
        metric, _, by = key.partition(",")
        if by and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            error = values.get(f"{metric}_stderr,{by}")
            yield named(metric, by), float(value), float(error) if isinstance(error, (int, float)) else None


def named(metric, by):
    return metric if by == "none" else f"{metric}/{by}"


def table_of(task, samples):
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
                row[f"lm_eval/{named(metric, sample['filter'])}"] = float(sample[metric])
    columns = sorted({column for row in rows.values() for column in row})
    return pa.table({column: [rows[number].get(column) for number in sorted(rows)] for column in columns})


def paired(metric, documents, before):
    """(values, the parent's values or None) of a metric's documents, each (rows,); (None, None) where they are no numbers."""
    column = f"lm_eval/{metric}"
    if column not in documents.column_names:
        return None, None
    same = before is not None and column in before.column_names and before["id"].equals(documents["id"])
    return documents[column].to_numpy(), before[column].to_numpy() if same else None


def summary(value, error, rows, ours, theirs, seed):
    """The harness's value and standard error as a summary; its change where the value is the mean over documents."""
    low, high = (value - 1.96 * error, value + 1.96 * error) if error is not None else (None, None)
    changes = {}
    if ours is not None and theirs is not None and np.isclose(ours.mean(), value):
        whole = statistics.summary(statistics.mean(ours), statistics.mean(theirs), len(ours), seed)
        changes = {key: whole[key] for key in ("change", "change_low", "change_high")}
    return statistics.figures(value, low, high, rows, changes) | {"stderr": statistics.rounded(error)}
