"""What models have to do with a record: which of them trained on it, how often, and how each scored on it.

    models, dropped = trained_models(build), left_out_of(build)  # {"sft": Trained("present", ...), ...}
    seen_by(build, "align", record, None, models, dropped)       # [{"step": "align", "through": "sft", "trained": True, "times": 1, "why": ""}]

What a model saw is what its training wrote down (scores/<step>.seen.parquet), by the rows that it was trained on. A model on
disk may have been trained on other rows than those that are there now: its made_of.json has their hash.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from commands.builds.build import chain, file_of, object_of
from commands.builds.git import Missing
from commands.records.table import connect, query_rows, unreadable_problem
from stages.core.hashes import sha256
from stages.training.exposure import exposure_path, read_exposure
from stages.training.left_out_rows import DROPPED, read_left_out

# -- models -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedRows:
    """What a step's model was trained on.

    state: `present` where these are the rows that are there now, `other`, `unknown`, or `untrained`. rows: the other rows where
    the cache has them. times: (rows,) how often the model saw each, in the order of their file; None where nothing says so.
    """

    state: str
    rows: Path | None = None
    times: np.ndarray | None = None


def trained_models(build, from_bytes=False):
    """{step: Trained}.

    from_bytes: the rows that are there now are hashed, where data/train.json would do if nobody touched them.
    """
    try:
        listed = {} if from_bytes else json.loads(file_of(build, "data/train.json").read_bytes())
    except (Missing, ValueError):
        listed = {}
    found = {}
    for step, given in build.steps.items():
        try:
            made = json.loads(file_of(build, f"models/{step}/made_of.json").read_bytes())
            rows = made["dataset"], made["rows_sha256"]
        except Missing:
            found[step] = TrainedRows("unknown" if f"train@{step}" in build.stages else "untrained")
            continue
        except (ValueError, KeyError, TypeError):
            found[step] = TrainedRows("unknown")
            continue
        same = rows == (given["dataset"], current_rows_hash(build, given["dataset"], listed))
        old = None if same else old_rows(build, step, made)
        found[step] = TrainedRows("present" if same else "other", old, times_seen(build, step, rows))
    return found


def times_seen(build, step, rows):
    """(rows,) how often a step's training saw each of its rows; None where that is not written of these rows.

    rows: (dataset, sha256) by its model.
    """
    try:
        times, facts = read_exposure(file_of(build, exposure_path(step).as_posix()))
    except (Missing, pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return times if (facts["dataset"], facts["rows_sha256"]) == rows else None


def current_rows_hash(build, dataset, listed):
    """sha256 of the present train rows of a dataset: as data/train.json has it, else of the file; None where neither is."""
    if dataset in listed:
        return listed[dataset]["sha256"]
    try:
        return sha256(file_of(build, f"data/train/{dataset}.parquet"))
    except Missing:
        return None


def old_rows(build, step, made):
    """The cached table of rows that a model was trained on, by the lock, or None where the cache has lost it."""
    stage = build.stages.get(f"train@{step}")
    rows = stage and stage.deps.get(f"data/train/{made.get('dataset')}.parquet")
    path = rows and rows.md5 and object_of(rows.md5)
    return path if path and path.is_file() and sha256(path) == made["rows_sha256"] else None


def left_out_by_row(build):
    """{(step, `source:line`): rows of preflight/_dropped.csv}; empty where it is not there."""
    try:
        path = file_of(build, DROPPED.as_posix())
    except Missing:
        return {}
    found = {}
    for row in read_left_out(path):
        found.setdefault((row["step"], row["row"]), []).append(row)
    return found


def exposure_of(build, step, record, stayed, models, dropped, hard=None):
    """What the model of a step has to do with a record: one entry, or none.

    {step, trained: true, false or null for unknown, times, through: the step of its chain that trained on it, why}
    models: of `trained_models`. dropped: of `left_out_by_row`. hard: of `sorted_of`, where a dataset's prompts are sorted.
    """
    found = []
    for through in chain(build, step):
        if build.steps[through]["dataset"] == record.dataset:
            entry = {"step": step, "through": through}
            found += [
                entry | seen
                for seen in [exposure_to_step(through, record, stayed, models[through], dropped, hard or {})]
                if seen
            ]
    # that one step did not see the row says nothing of the others
    return sorted(found, key=lambda seen: (True, None, False).index(seen["trained"]))[:1]


def exposure_to_step(step, record, stayed, model, dropped, hard):
    """{trained, times, why} of a record and a step on its dataset, None where they have nothing to do with each other.

    model: a Trained. `final` where no build of these rows and params would make it otherwise.
    """
    row = stayed or record
    in_train = row.room == "train"
    if model.state == "present" and in_train:
        times = None if model.times is None else int(model.times[row.row])
        if times:
            return {"trained": True, "times": times, "why": "" if not stayed else "on the row that stayed"}
        if times is None:
            return {
                "trained": None,
                "times": None,
                "why": f"{exposure_path(step)}, which says what {step} saw, is not there",
            }
        if found := why_left_out(step, row, dropped):
            why = f"in train, but left out of {step} by preflight: {found['reason']}"
            return {"trained": False, "times": 0, "final": True, "left_out": found["proof"], "why": why}
        if (found := hard.get((row.dataset, row.id))) and found["check"]:
            why = f"in train, but not trained on, by {found['check']}: {found['detail']}"
            return {"trained": False, "times": 0, "final": True, "left_out": found["check"], "why": why}
        some = f"{np.count_nonzero(model.times):,} of {len(model.times):,} rows"
        why = f"in train, but the training of {step} ended before it came to it, with {some} seen"
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


def times_in(model, name):
    """How often a model saw the row with an id among other rows than the present ones; None where that is not known."""
    if model.rows is None:
        return None
    numbers = [
        number for (number,) in query_rows(connect(), model.rows, [], "file_row_number", "id = $id", {"id": name})
    ]
    if not numbers:
        return 0
    return None if model.times is None else int(sum(model.times[number] for number in numbers))


def why_left_out(step, row, dropped):
    """The line of preflight/_dropped.csv about a row; None where it is trained. A record may have become several rows."""
    lines = dropped.get((step, row.place), [])
    return next((line for line in lines if line.get("id", row.id) == row.id), None)


# -- scores -------------------------------------------------------------------------------------------------------


def scores_of(build, ids, problems):
    """{(dataset, id): {model: {column: value}}} of some eval rows."""
    import duckdb

    found, database = {}, connect()
    for model in ["base", *build.steps] if ids else ():
        try:
            path = file_of(build, f"scores/{model}.parquet")
            asked = database.execute("FROM read_parquet($path) WHERE id IN $ids", {"path": str(path), "ids": list(ids)})
            names = [column[0] for column in asked.description]
            for values in asked.fetchall():
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


def format_scores(scored):
    """What was measured of a row, in words; sums of log-probabilities as means, as the scores have them."""
    scored = dict(scored)
    if tokens := scored.pop("tokens", None):
        scored = {"loss": scored.pop("nll") / tokens, "token_accuracy": scored.pop("right") / tokens} | scored
    return ", ".join(f"{name} {value:.3f}" for name, value in scored.items() if isinstance(value, float))
