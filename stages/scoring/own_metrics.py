"""Scores answers by functions: a dataset's metrics, of `validators/metrics.py`, whose errors name the row, and its rewards.

metric_columns("chat", ["rouge_l"], ["cba"], rows, "sft") -> {"rouge_l": [0.5]}
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from stages.rows.types import Row
from stages.training.reward_calls import reward_function
from validators import metrics
from validators.problems import Problem, Problems

HINT = "an answer can be any text: return 0 where it cannot be read, or None for a row that the metric does not judge"


def metric_columns(
    dataset: str, names: list[str], answers: list[str], rows: list[Row], kind: str
) -> dict[str, pa.Array]:
    """{metric: (rows,) floats, null where it judges none}. Raises Problems with every metric that fails."""
    arguments, columns, problems = metric_arguments(answers, rows, kind), {}, []
    for name in names:
        try:
            columns[name] = pa.array(metric_values(dataset, name, arguments, rows), pa.float64())
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return columns


def metric_arguments(answers: list[str], rows: list[Row], kind: str) -> dict[str, list[Any]]:
    """The arguments of a metric: the answers, and the prompt and own answer of each row."""
    completions: dict[str, list[Any]] = {"completions": [[{"role": "assistant", "content": text}] for text in answers]}
    if kind == "grpo":
        return completions | {key: [row[key] for row in rows] for key in ("prompt", "ground_truth", "extra")}
    truths = [row["messages"][-1] if kind == "sft" else row["chosen"][-1] for row in rows]
    return completions | {
        "prompt": [row["messages"][:-1] if kind == "sft" else row["prompt"] for row in rows],
        "ground_truth": [truth["content"] or "" for truth in truths],
        "extra": [extra_json(truth) for truth in truths],
    }


def extra_json(answer: dict[str, Any]) -> str | None:
    """The rest of an answer as JSON text: its calls, its thoughts."""
    rest = {key: value for key, value in answer.items() if key not in ("role", "content") and value is not None}
    return json.dumps(rest, ensure_ascii=False) if rest else None


def metric_values(dataset: str, name: str, arguments: dict[str, list[Any]], rows: list[Row]) -> list[float | None]:
    """The values of one metric, (rows,). Raises Problems."""
    function, where = getattr(metrics, name, None), f"datasets.{dataset}.metrics: {name}"
    if function is None:
        raise Problems([Problem(where, "no such metric", "a function of validators/metrics.py", "tilth check")])
    try:
        values = list(function(**arguments))
    except Exception as error:
        raise Problems([exception_problem(function, where, arguments, rows, error)]) from None
    if len(values) != len(rows):
        found, expected = f"returned {len(values)} values for {len(rows)} answers", "a number or None for each"
        raise Problems([Problem(where, found, expected, "validators/metrics.py")])
    for value, row in zip(values, rows, strict=True):
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            found = f"returned {value!r} for {row['source']}:{row['line']}"
            raise Problems([Problem(where, found, "a finite number or None", HINT)])
    return values


def rewards_of_answers(functions: Iterable[str], answers: list[str], rows: list[Row]) -> dict[str, list[float | None]]:
    """{function: its reward for each answer}; one answer a row."""
    completions = [[{"role": "assistant", "content": text}] for text in answers]
    given = {key: [row[key] for row in rows] for key in ("ground_truth", "extra")} | {
        "prompts": [row["prompt"] for row in rows]
    }
    return {name: reward_function(name)(completions=completions, **given) for name in functions}


def exception_problem(
    function: Callable[..., Any], where: str, arguments: dict[str, list[Any]], rows: list[Row], error: Exception
) -> Problem:
    """The Problem of a metric that raises, with the first row that raises alone."""
    for i, row in enumerate(rows):
        try:
            function(**{key: value[i : i + 1] for key, value in arguments.items()})
        except Exception as row_error:
            found = f"raised {type(row_error).__name__}: {row_error}, for {row['source']}:{row['line']}"
            return Problem(where, found, "a number or None for any answer", HINT)
    return Problem(where, f"raised {type(error).__name__}: {error}", "a number or None for any answer", HINT)
