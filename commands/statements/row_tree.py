"""The tree of all rows that a model and its parents were trained on, for proofs. Its ids are sorted.

dvc.lock, models/<step>/made_of.json, data/train/, scores/<step>.seen.parquet -> .work/.trained/<root>: the tree

The file is a cache (commands/statements/tree_cache.py): it may be deleted.
"""

import os
import tempfile
from pathlib import Path
from typing import IO

from commands.builds.build import Build, chain, file_of
from commands.records.exposure import TrainedRows, trained_models
from commands.records.table import MEMORY
from commands.statements.merkle import Tree, fold_hashes, root
from commands.statements.tree_cache import FOLDER, IdFile
from stages.training.exposure import exposure_path
from validators.problems import Problem, Problems


def build_tree(build: Build, step: str) -> Tree:
    """The tree of the rows that a model and its parents were trained on. Raises Problems where the build does not know these rows."""
    models, problems = trained_models(build, from_bytes=True), []
    for name in chain(build, step):
        problems += training_problems(name, models[name])
    if problems:
        raise Problems(problems)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
        path = Path(file.name)
        try:
            write_ids(build, {name: models[name] for name in chain(build, step)}, file)
            file.flush()
            ids = IdFile(path)
            tree = Tree(ids, fold_hashes(ids))
            file.write(b"".join(tree.folds))
        except BaseException:
            path.unlink()
            raise
    path_of_tree = FOLDER / root(tree).hex()
    os.replace(path, path_of_tree)
    return Tree(IdFile(path_of_tree, len(ids)), tree.folds)


def training_problems(step: str, model: TrainedRows) -> list[Problem]:
    """The reasons why the rows that a step was trained on are unknown."""
    hint = f"dvc checkout, or dvc repro train@{step}"
    if model.state in ("unknown", "untrained"):
        return [Problem(f"models/{step}", "is not there", "a trained model with its made_of.json", hint)]
    if model.times is None:
        return [
            Problem(
                str(exposure_path(step)),
                "does not say which rows the model saw",
                "the file that its training wrote",
                hint,
            )
        ]
    if model.state == "other" and model.rows is None:
        found = "was trained on rows that are neither here nor in the cache"
        return [Problem(f"models/{step}", found, "its rows", f"dvc pull, or dvc repro train@{step}")]
    return []


def write_ids(build: Build, models: dict[str, TrainedRows], file: IO[bytes]) -> None:
    """Write the sorted ids of all rows that any of the models saw, each once."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    database = duckdb.connect()
    database.execute(f"SET memory_limit = '{MEMORY}'; CREATE TABLE trained (id BLOB)")
    for step, model in models.items():
        assert model.times is not None  # else `training_problems` says so
        rows = model.rows or file_of(build, f"data/train/{build.steps[step]['dataset']}.parquet")
        database.register("seen", pa.table({"file_row_number": np.flatnonzero(model.times)}))
        every = "read_parquet($path, file_row_number = true)"
        query = f"INSERT INTO trained SELECT unhex(id) FROM {every} SEMI JOIN seen USING (file_row_number)"
        database.execute(query, {"path": str(rows)})
    for batch in database.sql("SELECT DISTINCT id FROM trained ORDER BY id").to_arrow_reader(100_000):
        file.write(b"".join(batch.column(0).to_pylist()))
