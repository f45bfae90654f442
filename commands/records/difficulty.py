"""How hard a train prompt was found, and whether it is trained on, where `difficulty` of params.yaml asks.

sorted_of(build, "problems", ["9a1c..."]) -> {"9a1c...": {"right": 0, "judged": 8, "check": "keep.too_hard", "detail": ...}}
"""

from commands.builds.build import file_of
from commands.builds.git import Missing
from commands.records.table import connect, unreadable_problem
from stages.training.kept_prompts import kept_path


def rule_of(build, dataset):
    """What `difficulty` says of a dataset, None where it says nothing."""
    return (build.params.get("difficulty") or {}).get(dataset)


def read_sorting(build, places, problems):
    """{(dataset, id): {right, judged, check, detail}} of train rows that are sorted. places: (dataset, id) of each."""
    import duckdb

    found = {}
    for dataset in sorted({dataset for dataset, _ in places if rule_of(build, dataset)}):
        ids = [id for name, id in places if name == dataset]
        try:
            path = file_of(build, kept_path(dataset).as_posix())
            query = 'SELECT id, "right", judged, "check", detail FROM read_parquet($path) WHERE id IN $ids'
            for id, *values in connect().execute(query, {"path": str(path), "ids": ids}).fetchall():
                found[dataset, id] = dict(zip(("right", "judged", "check", "detail"), values, strict=True))
        except Missing:
            continue  # not sorted yet: `tilth plan` says so
        except duckdb.Error as error:
            problems.append(unreadable_problem(kept_path(dataset), error))
    return found
