"""What models have to do with a record: which of them trained on it, and how each scored on it.

    models = trained_models(build)                # {"sft": ("present", None), ...}
    seen_by(build, "align", record, None, models) # [{"step": "align", "through": "sft", "trained": True, "why": ""}]

A model on disk may have been trained on other rows than those that are there now: its made_of.json has their hash.
"""

import json

from commands.builds.build import chain, file_of, object_of
from commands.builds.git import Missing
from commands.builds.hashes import sha256
from commands.records.table import ask, connect, unreadable

# -- models -------------------------------------------------------------------------------------------------------


def trained_models(build, from_bytes=False):
    """{step: (state, path)}: `present` where its model was trained on the rows that are there now, `other` with the old
    rows where the cache has them, `unknown`, or `untrained`.

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
            found[step] = ("unknown" if f"train@{step}" in build.stages else "untrained", None)
            continue
        except (ValueError, KeyError, TypeError):
            found[step] = ("unknown", None)
            continue
        same = rows == (given["dataset"], present_hash(build, given["dataset"], listed))
        found[step] = ("present", None) if same else ("other", old_rows(build, step, made))
    return found


def present_hash(build, dataset, listed):
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


def seen_by(build, step, record, stayed, models):
    """What the model of a step has to do with a record: one entry, or none.

    {step, trained: true, false or null for unknown, through: the step of its chain that trained on it, why}
    """
    in_train = (stayed or record).room == "train"
    for through in chain(build, step):
        if build.steps[through]["dataset"] != record.dataset:
            continue
        state, path = models[through]
        entry = {"step": step, "through": through, "trained": None}
        if state == "present" and in_train:
            return [entry | {"trained": True, "why": "" if not stayed else "on the row that stayed"}]
        if state == "other" and record.id:
            trained = None if path is None else holds(path, (stayed or record).id)
            return [entry | {"trained": trained, "why": f"{through} was trained on other rows than the present ones"}]
        if state in ("unknown", "untrained") and in_train:
            why = f"{through} is not trained yet" if state == "untrained" else f"models/{through} is not there"
            return [entry | {"trained": False if state == "untrained" else None, "why": why}]
    return []


def holds(path, name):
    """True where a table has a row with an id."""
    return any(True for _ in ask(connect(), path, [], "1", "id = $id", {"id": name}))


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
            problems.append(unreadable(f"scores/{model}.parquet", error))
    return found


def figures(scored):
    """What was measured of a row, in words; sums of log-probabilities as means, as the scores have them."""
    scored = dict(scored)
    if tokens := scored.pop("tokens", None):
        scored = {"loss": scored.pop("nll") / tokens, "token_accuracy": scored.pop("right") / tokens} | scored
    return ", ".join(f"{name} {value:.3f}" for name, value in scored.items() if isinstance(value, float))
