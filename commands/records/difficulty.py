"""How hard each train prompt is, and whether `keep` keeps it, for datasets with an entry in `difficulty` of params.yaml.

read_sorting(build, [("problems", "9a1c...")], problems)
-> {("problems", "9a1c..."): {"right": 0, "judged": 8, "check": "keep.too_hard", "detail": ...}}
"""

from collections.abc import Collection
from typing import Any, TypedDict

from commands.builds.build import Build, file_of
from commands.builds.git import Missing
from commands.records.table import connect, unreadable_problem
from stages.training.kept_prompts import kept_path
from validators.problems import Problem


class Sorting(TypedDict):
    """Of one prompt. right, judged: samples. check: of `keep`, None where the prompt is kept."""

    right: int
    judged: int
    check: str | None
    detail: str | None


def rule_of(build: Build, dataset: str) -> dict[str, Any] | None:
    """The entry of a dataset in `difficulty`, None where it has none."""
    return (build.params.get("difficulty") or {}).get(dataset)


def read_sorting(
    build: Build, places: Collection[tuple[str, str | None]], problems: list[Problem]
) -> dict[tuple[str, str | None], Sorting]:
    """{(dataset, id): Sorting} of the train rows that are sorted. places: (dataset, id) of each."""
    import duckdb

    found: dict[tuple[str, str | None], Sorting] = {}
    for dataset in sorted({dataset for dataset, _ in places if rule_of(build, dataset)}):
        ids = [id for name, id in places if name == dataset]
        try:
            path = file_of(build, kept_path(dataset).as_posix())
            query = 'SELECT id, "right", judged, "check", detail FROM read_parquet($path) WHERE id IN $ids'
            for id, right, judged, check, detail in (
                connect().execute(query, {"path": str(path), "ids": ids}).fetchall()
            ):
                found[dataset, id] = {"right": right, "judged": judged, "check": check, "detail": detail}
        except Missing:
            continue  # not sorted yet: `tilth plan` says so
        except duckdb.Error as error:
            problems.append(unreadable_problem(kept_path(dataset), error))
    return found
