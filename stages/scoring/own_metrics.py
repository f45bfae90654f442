"""What answers are worth by the metrics that a dataset names: functions of `validators/metrics.py`, with mistakes that name the row.

metric_columns("chat", ["rouge_l"], ["cba"], rows, "sft") -> {"rouge_l": [0.5]}
"""

import json
import math

import pyarrow as pa

from validators import metrics
from validators.problems import Problem, Problems

HINT = "a model says anything: give 0 to what cannot be read, or None to a row that the metric does not judge"


def metric_columns(dataset: str, names: list[str], said: list[str], rows: list[dict], kind: str) -> dict[str, pa.Array]:
    """{metric: (rows,) floats, null where it judges none}. Raises Problems with every metric that fails."""
    given, found, problems = metric_arguments(said, rows, kind), {}, []
    for name in names:
        try:
            found[name] = pa.array(metric_values(dataset, name, given, rows), pa.float64())
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return found


def metric_arguments(said: list[str], rows: list[dict], kind: str) -> dict[str, list]:
    """What a metric is given: the answers, and of each row the prompt and the answer that it holds."""
    found = {"completions": [[{"role": "assistant", "content": text}] for text in said]}
    if kind == "grpo":
        return found | {key: [row[key] for row in rows] for key in ("prompt", "ground_truth", "extra")}
    answers = [row["messages"][-1] if kind == "sft" else row["chosen"][-1] for row in rows]
    return found | {
        "prompt": [row["messages"][:-1] if kind == "sft" else row["prompt"] for row in rows],
        "ground_truth": [answer["content"] or "" for answer in answers],
        "extra": [extra_json(answer) for answer in answers],
    }


def extra_json(answer: dict) -> str | None:
    """What else an answer holds, as JSON text: its calls, its thoughts."""
    rest = {key: value for key, value in answer.items() if key not in ("role", "content") and value is not None}
    return json.dumps(rest, ensure_ascii=False) if rest else None


def metric_values(dataset: str, name: str, given: dict, rows: list[dict]) -> list[float | None]:
    """What one metric gives, (rows,). Raises Problems."""
    function, where = getattr(metrics, name, None), f"datasets.{dataset}.metrics: {name}"
    if function is None:
        raise Problems([Problem(where, "no such metric", "a function of validators/metrics.py", "tilth check")])
    try:
        values = list(function(**given))
    except Exception as error:
        raise Problems([exception_problem(function, where, given, rows, error)]) from None
    if len(values) != len(rows):
        found, expected = f"returned {len(values)} values for {len(rows)} answers", "a number or None for each"
        raise Problems([Problem(where, found, expected, "validators/metrics.py")])
    for value, row in zip(values, rows, strict=True):
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            found = f"returned {value!r} for {row['source']}:{row['line']}"
            raise Problems([Problem(where, found, "a finite number or None", HINT)])
    return values


def exception_problem(function, where: str, given: dict, rows: list[dict], error: Exception) -> Problem:
    """The Problem of a metric that raises, with the first row for which it does so by itself."""
    for i, row in enumerate(rows):
        try:
            function(**{key: value[i : i + 1] for key, value in given.items()})
        except Exception as alone:
            found = f"raised {type(alone).__name__}: {alone}, for {row['source']}:{row['line']}"
            return Problem(where, found, "a number or None for any answer", HINT)
    return Problem(where, f"raised {type(error).__name__}: {error}", "a number or None for any answer", HINT)
