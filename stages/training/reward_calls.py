"""Call reward functions as TRL's GRPO trainer does, with errors that name the function and the row.

score_answers(["exact_match"], rows, ["cba"], tokenizer, where="steps.align", names=["data/raw/p.jsonl:3"]) -> (1, 1) floats
"""

import functools
import inspect
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stages.rows.types import Row
from stages.training.types import RewardFunction, Tokenizer
from validators import rewards
from validators.problems import Problem, Problems, did_you_mean


def score_answers(
    functions: list[str],
    rows: list[Row],
    answers: Sequence[str],
    tokenizer: Tokenizer,
    where: str,
    names: Sequence[str],
) -> np.ndarray:
    """The reward of each answer by each function, (answers, functions); NaN for None, as in TRL.

    rows: of a grpo dataset, one for each answer. names: `source:line` of each. Raises Problems if a function raises,
    returns the wrong number of values, or a value that is neither a finite number nor None.
    """
    given = trl_arguments(rows, answers, tokenizer)
    columns, problems = [], []
    for function in functions:
        try:
            columns.append(call_function(function, given, where, names))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return np.array(columns, float).T.reshape(len(answers), len(functions))


TRL_KEYWORDS = (
    "prompts",
    "completions",
    "completion_ids",
    "ground_truth",
    "extra",
    "trainer_state",
    "log_extra",
    "log_metric",
    "environments",
)


def reward_function(name: str) -> RewardFunction:
    """A function of validators/rewards.py as TRL calls it; its parameters beyond TRL's keywords are filled from `extra`."""
    function = getattr(rewards, name)
    fields = extra_fields(function)
    if not fields:
        return function

    @functools.wraps(function)
    def with_fields(extra: list[str], **given: Any) -> list[float | None]:
        records = [json.loads(text) for text in extra]
        return function(extra=extra, **{field: [record.get(field) for record in records] for field in fields}, **given)

    return with_fields


def extra_fields(function: RewardFunction) -> list[str]:
    """The parameters of a reward function that are fields of `extra`."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [
        each.name
        for each in parameters
        if each.kind in kinds and each.name not in TRL_KEYWORDS and each.default is inspect.Parameter.empty
    ]


def unknown_field_problems(name: str, rows: Iterable[Row], where: str) -> list[Problem]:
    """Problems for each parameter of a reward function that no row has in `extra`: a typo, or the wrong dataset."""
    known = dict.fromkeys(key for row in rows for key in json.loads(row["extra"]))
    return [
        reward_problem(
            where,
            f"{name} has the parameter {field!r}, which no row has in `extra`",
            "a field of `extra`",
            did_you_mean(field, known),
        )
        for field in extra_fields(getattr(rewards, name))
        if field not in known
    ]


def trl_arguments(rows: Sequence[Row], answers: Sequence[str], tokenizer: Tokenizer) -> dict[str, Any]:
    """The keywords that TRL passes to a reward function: prompts, completions as conversations, their tokens, other columns."""
    from transformers import TrainerState

    ids = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    return {
        "prompts": [row["prompt"] for row in rows],
        "completions": [[{"role": "assistant", "content": answer}] for answer in answers],
        "completion_ids": [[*tokens, tokenizer.eos_token_id] for tokens in ids],
        "ground_truth": [row["ground_truth"] for row in rows],
        "extra": [row["extra"] for row in rows],
        "trainer_state": TrainerState(),
        "log_extra": lambda column, values: None,
        "log_metric": lambda name, value: None,
    }


def call_function(function: str, given: dict[str, Any], where: str, names: Sequence[str]) -> list[float]:
    """The rewards of one function, (answers,) floats. Raises Problems as `score_answers` does."""
    count = len(given["completions"])
    try:
        returned = list(reward_function(function)(**given))
    except Exception as error:
        raise Problems([exception_problem(function, given, where, names, error)]) from None
    if len(returned) != count:
        found = f"{function} returned {len(returned)} values for {count} answers, of {names[0]} and those after it"
        hint = "return a list with one number, or None, for each of `completions`"
        raise Problems([reward_problem(where, found, f"{count} values", hint)])
    numbers = [finite_reward(value) for value in returned]
    wrong = [i for i, value in enumerate(numbers) if value is None]
    if wrong:
        i = wrong[0]
        more = f" and {len(wrong) - 1:,} more such" if len(wrong) > 1 else ""
        found = f"{function} returned {returned[i]!r} for the answer {quote_answer(given, i)} of {names[i]}{more}"
        hint = "one such value spoils the whole batch; return None if the function does not apply"
        raise Problems([reward_problem(where, found, "a finite number or None", hint)])
    return [value for value in numbers if value is not None]


def finite_reward(value: Any) -> float | None:
    """A reward as a float, NaN for None; None if it is not a finite number."""
    if value is None:
        return math.nan
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def exception_problem(
    function: str, given: dict[str, Any], where: str, names: Sequence[str], error: Exception
) -> Problem:
    """The Problem of a function that raises, with the first row for which it raises on its own."""
    for i in range(len(names)):
        one = {key: value[i : i + 1] if isinstance(value, list) else value for key, value in given.items()}
        try:
            reward_function(function)(**one)
        except Exception as alone:
            found = f"{function} raised {type(alone).__name__}: {alone}; the answer was {quote_answer(given, i)} of {names[i]}"
            break
    else:
        found = f"{function} raised {type(error).__name__}: {error}; the batch began with {names[0]}"
    hint = "a model may write anything: return 0 for text that cannot be read, or None if the function does not apply"
    return reward_problem(where, found, "a reward for any text", hint)


def reward_problem(where: str, found: str, expected: str, hint: str) -> Problem:
    return Problem(f"{where}: preflight.reward_runs", found, expected, hint)


def quote_answer(given: dict[str, Any], i: int) -> str:
    text = given["completions"][i][0]["content"]
    return repr(text if len(text) <= 60 else text[:60] + "...")
