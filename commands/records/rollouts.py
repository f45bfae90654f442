"""What GRPO generated in training for some prompts, from scores/<step>.rollouts.parquet.

rollouts_of(build, {"9c..."}, problems) -> {"9c...": {"align": [{"step": 40, "completion": "cba", "reward": 1.0, ...}, ...]}}
"""

from commands.builds.build import file_of
from commands.builds.git import Missing
from commands.records.table import connect, unreadable_problem
from stages.training.rollouts import rollouts_path


def rollouts_of(build, ids, problems):
    """{id: {step: its answers, in the order of the training}} of prompts that a grpo step generated for."""
    import duckdb

    found, database = {}, connect()
    for step, given in build.steps.items() if ids else ():
        path = rollouts_path(step).as_posix()
        try:
            place = file_of(build, path) if given["method"] == "grpo" else None
        except Missing:
            continue  # built before there were any, or not trained yet
        try:
            asked = place and database.execute(
                "FROM read_parquet($path) WHERE id IN $ids", {"path": str(place), "ids": list(ids)}
            )
            names = [column[0] for column in asked.description] if asked else []
            for values in asked.fetchall() if asked else ():
                row = dict(zip(names, values, strict=True))
                found.setdefault(row.pop("id"), {}).setdefault(step, []).append(row)
        except duckdb.Error as error:
            problems.append(unreadable_problem(path, error))
    return found
