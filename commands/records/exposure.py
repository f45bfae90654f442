"""What models have to do with a record: which of them trained on it, how often, and how each scored on it.

    models, dropped = trained_models(build), left_out_by_row(build)  # {"sft": TrainedRows("present", ...), ...}
    exposure_of(build, "align", record, None, models, dropped)
    # [{"step": "align", "through": "sft", "trained": True, "times": 1, "why": ""}]

A training writes down what its model saw (scores/<step>.seen.parquet), in the order of the rows that it trained on. A model
on disk may come from other rows than the present ones: its made_of.json has their hash.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa

from commands.builds.build import Build, chain, file_of, object_of
from commands.builds.git import Missing
from commands.records.difficulty import Sorting
from commands.records.table import Record, connect, query_rows, unreadable_problem
from stages.core.hashes import sha256
from stages.training.exposure import exposure_path, read_exposure
from stages.training.left_out_rows import DROPPED, read_left_out
from validators.problems import Problem

Dropped = dict[tuple[str, str], list[dict[str, str]]]  # {(step, `source:line`): rows of preflight/_dropped.csv}
Sortings = Mapping[tuple[str, str | None], Sorting]


class StepExposure(TypedDict):
    """trained: None where it is unknown. final: no build of these rows and params would change it. left_out: a proof or check."""

    trained: bool | None
    times: int | None
    final: NotRequired[bool]
    left_out: NotRequired[str]
    why: str


class Exposure(StepExposure):
    """What the model of a step has to do with a record. through: the step of its chain that has the record's dataset."""

    step: str
    through: str


# -- models -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedRows:
    """The rows that a step's model was trained on.

    state: `present` (the rows that are there now), `other`, `unknown` or `untrained`. rows: the other rows, where the cache has
    them. times: (rows,) how often the model saw each, in the order of their file; None where it is unknown.
    """

    state: str
    rows: Path | None = None
    times: np.ndarray | None = None


def trained_models(build: Build, from_bytes: bool = False) -> dict[str, TrainedRows]:
    """{step: TrainedRows} of every step. from_bytes: hash the present rows, and do not trust data/train.json."""
    try:
        listed = {} if from_bytes else json.loads(file_of(build, "data/train.json").read_bytes())
    except (Missing, ValueError):
        listed = {}
    found: dict[str, TrainedRows] = {}
    for step, config in build.steps.items():
        try:
            made_of = json.loads(file_of(build, f"models/{step}/made_of.json").read_bytes())
            rows = made_of["dataset"], made_of["rows_sha256"]
        except Missing:
            found[step] = TrainedRows("unknown" if f"train@{step}" in build.stages else "untrained")
            continue
        except (ValueError, KeyError, TypeError):
            found[step] = TrainedRows("unknown")
            continue
        same = rows == (config["dataset"], current_rows_hash(build, config["dataset"], listed))
        old = None if same else old_rows(build, step, made_of)
        found[step] = TrainedRows("present" if same else "other", old, times_seen(build, step, rows))
    return found


def times_seen(build: Build, step: str, rows: tuple[str, str]) -> np.ndarray | None:
    """(rows,) how often a step's training saw each of its rows; None where no file says so of these rows.

    rows: (dataset, sha256), as its model has them.
    """
    try:
        times, facts = read_exposure(file_of(build, exposure_path(step).as_posix()))
    except (Missing, pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return times if (facts["dataset"], facts["rows_sha256"]) == rows else None


def current_rows_hash(build: Build, dataset: str, listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """sha256 of the present train rows of a dataset: from data/train.json, else of the file; None where both are missing."""
    if dataset in listed:
        return listed[dataset]["sha256"]
    try:
        return sha256(file_of(build, f"data/train/{dataset}.parquet"))
    except Missing:
        return None


def old_rows(build: Build, step: str, made_of: Mapping[str, Any]) -> Path | None:
    """The table that a model was trained on, by the lock, in the cache; None where the cache has lost it."""
    stage = build.stages.get(f"train@{step}")
    rows = stage.deps.get(f"data/train/{made_of.get('dataset')}.parquet") if stage else None
    path = object_of(rows.md5) if rows and rows.md5 else None
    return path if path and path.is_file() and sha256(path) == made_of["rows_sha256"] else None


def left_out_by_row(build: Build) -> Dropped:
    """The rows that preflight left out of each step; empty where preflight/_dropped.csv is missing."""
    try:
        path = file_of(build, DROPPED.as_posix())
    except Missing:
        return {}
    found: Dropped = {}
    for row in read_left_out(path):
        found.setdefault((row["step"], row["row"]), []).append(row)
    return found


def exposure_of(
    build: Build,
    step: str,
    record: Record,
    survivor: Record | None,
    models: Mapping[str, TrainedRows],
    dropped: Dropped,
    sortings: Sortings | None = None,
) -> list[Exposure]:
    """What the model of a step has to do with a record: one entry, or none.

    survivor: the row in train or eval that a rejected record is a duplicate of. sortings: of `read_sorting`.
    """
    found: list[Exposure] = []
    for through in chain(build, step):
        if build.steps[through]["dataset"] != record.dataset:
            continue
        if exposure := exposure_to_step(through, record, survivor, models[through], dropped, sortings or {}):
            found.append({"step": step, "through": through, **exposure})
    # one step that did not see the row says nothing of the others
    return sorted(found, key=lambda exposure: (True, None, False).index(exposure["trained"]))[:1]


def exposure_to_step(
    step: str, record: Record, survivor: Record | None, model: TrainedRows, dropped: Dropped, sortings: Sortings
) -> StepExposure | None:
    """What a step on a record's dataset has to do with the record; None where it has nothing to do with it."""
    row = survivor or record
    in_train = row.room == "train"
    if model.state == "present" and in_train:
        times = None if model.times is None else int(model.times[row.row])
        if times:
            return {"trained": True, "times": times, "why": "on the row that stayed" if survivor else ""}
        if times is None:
            return {
                "trained": None,
                "times": None,
                "why": f"{exposure_path(step)}, which says what {step} saw, is not there",
            }
        if found := why_left_out(step, row, dropped):
            why = f"in train, but left out of {step} by preflight: {found['reason']}"
            return {"trained": False, "times": 0, "final": True, "left_out": found["proof"], "why": why}
        if (sorting := sortings.get((row.dataset, row.id))) and sorting["check"]:
            why = f"in train, but not trained on, by {sorting['check']}: {sorting['detail']}"
            return {"trained": False, "times": 0, "final": True, "left_out": sorting["check"], "why": why}
        some = "" if model.times is None else f"{np.count_nonzero(model.times):,} of {len(model.times):,} rows"
        why = f"in train, but the training of {step} ended before it reached this row, with {some} seen"
        return {"trained": False, "times": 0, "final": True, "why": why}
    if model.state == "other" and record.id:
        times = times_in(model, row.id)
        trained = None if times is None else times > 0
        return {"trained": trained, "times": times, "why": f"{step} was trained on other rows than the present ones"}
    if model.state in ("unknown", "untrained") and in_train:
        untrained = model.state == "untrained"
        why = f"{step} is not trained yet" if untrained else f"models/{step} is not there"
        return {"trained": False if untrained else None, "times": 0 if untrained else None, "why": why}
    return None


def times_in(model: TrainedRows, name: str | None) -> int | None:
    """How often a model saw the row with an id among the other rows that it trained on; None where that is unknown."""
    if model.rows is None:
        return None
    numbers = [
        number for (number,) in query_rows(connect(), model.rows, [], "file_row_number", "id = $id", {"id": name})
    ]
    if not numbers:
        return 0
    return None if model.times is None else int(sum(model.times[number] for number in numbers))


def why_left_out(step: str, row: Record, dropped: Dropped) -> dict[str, str] | None:
    """The line of preflight/_dropped.csv about a row, None where it is trained on. One record can make several rows."""
    lines = dropped.get((step, row.place), [])
    return next((line for line in lines if line.get("id", row.id) == row.id), None)


# -- scores -------------------------------------------------------------------------------------------------------


def scores_of(
    build: Build, ids: Collection[str | None], problems: list[Problem]
) -> dict[tuple[str, str | None], dict[str, dict[str, Any]]]:
    """{(dataset, id): {model: {column: value}}} of some eval rows."""
    import duckdb

    found: dict[tuple[str, str | None], dict[str, dict[str, Any]]] = {}
    database = connect()
    for model in ["base", *build.steps] if ids else ():
        try:
            path = file_of(build, f"scores/{model}.parquet")
            query = "FROM read_parquet($path) WHERE id IN $ids"
            result = database.execute(query, {"path": str(path), "ids": list(ids)})
            names = [column[0] for column in result.description or ()]
            for values in result.fetchall():
                row = dict(zip(names, values, strict=True))
                scored = {
                    name: value for name, value in row.items() if value is not None and name not in ("dataset", "id")
                }
                found.setdefault((row["dataset"], row["id"]), {})[model] = scored
        except Missing as error:
            problems += error.problems
        except duckdb.Error as error:
            problems.append(unreadable_problem(f"scores/{model}.parquet", error))
    return found


def format_scores(scored: Mapping[str, Any]) -> str:
    """The measurements of a row in one line; sums of log-probabilities as means, as in the scores."""
    scored = dict(scored)
    if tokens := scored.pop("tokens", None):
        scored = {"loss": scored.pop("nll") / tokens, "token_accuracy": scored.pop("right") / tokens} | scored
    return ", ".join(f"{name} {value:.3f}" for name, value in scored.items() if isinstance(value, float))
