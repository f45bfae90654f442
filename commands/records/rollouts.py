"""What GRPO generated for some prompts in training, from scores/<step>.rollouts.parquet.

rollouts_of(build, {"9c..."}, problems) -> {"9c...": {"align": [{"step": 40, "completion": "cba", "reward": 1.0, ...}, ...]}}
"""

from collections.abc import Collection
from typing import Any

from commands.builds.build import Build, file_of
from commands.builds.git import Missing
from commands.records.table import connect, unreadable_problem
from stages.training.rollouts import rollouts_path
from validators.problems import Problem

Rollouts = dict[str, dict[str, list[dict[str, Any]]]]  # {id: {step: its completions, in the order of the training}}


def rollouts_of(build: Build, ids: Collection[str | None], problems: list[Problem]) -> Rollouts:
    """The completions that each grpo step generated for some prompts."""
    import duckdb

    found: Rollouts = {}
    database = connect()
    for step, config in build.steps.items() if ids else ():
        if config["method"] != "grpo":
            continue
        path = rollouts_path(step).as_posix()
        try:
            given = {"path": str(file_of(build, path)), "ids": list(ids)}
            result = database.execute("FROM read_parquet($path) WHERE id IN $ids", given)
            names = [column[0] for column in result.description or ()]
            for values in result.fetchall():
                row = dict(zip(names, values, strict=True))
                found.setdefault(row.pop("id"), {}).setdefault(step, []).append(row)
        except Missing:
            continue  # from before rollouts were kept, or not trained yet
        except duckdb.Error as error:
            problems.append(unreadable_problem(path, error))
    return found
