"""Earlier measurements, found by a fingerprint of the model, the rows, the settings and the code. Nothing is measured twice.

    find_parts("align", {("chat", "answers"): "5f0e..."}) -> {("chat", "answers"): Measurement(ids, {"cut": ..., "generation": ...})}

The metadata of scores/<model>.parquet has the fingerprint of each part, and the hash of its content. Parts are looked for in the
files of this folder, and in those of earlier builds in DVC's cache. So a new dataset is measured alone, and neither a new name of
a step nor a new metric loads a model. A reused part is what a new measurement would give, to the byte.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.code_lists import code_hash
from stages.core.dvc_cache import object_path, stage_runs
from stages.core.hashes import sha256
from stages.scoring.answers import SETTINGS, EvalRows
from stages.scoring.eval_settings import METADATA_KEY
from stages.training.models import BASE, full_weights, part_of_model

Part = tuple[str, str]  # (a dataset, or `lm_eval/<task>`; the part of it that is measured)
Description = dict[str, Any]  # of a part, in the metadata of scores/<model>.parquet


@dataclass
class Measurement:
    """One part of a dataset. ids: of the rows, in order. columns: {name: Arrow array}, each (rows,). facts: numbers beside them."""

    ids: list[str]
    columns: dict[str, pa.Array]
    facts: dict[str, Any]


# -- fingerprints -----------------------------------------------------------------------------------------------------


def hash_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_of_model(folder: Path) -> str:
    """The hash of what a model computes with: its files, and the base's under adapters; without names of steps and cards."""
    folders = {"": folder} | ({"base/": BASE} if full_weights(folder) != folder else {})
    return hash_of(
        {
            prefix + part: sha256(path)
            for prefix, each in folders.items()
            for path in sorted(each.rglob("*"))
            if path.is_file() and (part := part_of_model(path.relative_to(each).as_posix()))
        }
    )


def part_fingerprint(model: str, part: str, asked: EvalRows, options: dict[str, Any], seed: int) -> str:
    """The hash of all that decides one part. model: see `hash_of_model`."""
    rows = [{key: value for key, value in row.items() if key not in ("source", "line", "slices")} for row in asked.rows]
    settings = {key: options[key] for key in SETTINGS[part]} | ({"seed": seed} if part == "samples" else {})
    facts = {"part": part, "model": model, "kind": asked.kind, "reasoning": asked.reasoning, "rows": rows}
    return hash_of(facts | {"settings": settings, "code": code_hash("measures/answers")})


def task_fingerprint(
    model: str, name: str, task: str, facts: dict[str, Any], options: dict[str, Any], seed: int
) -> str:
    """The hash of all that decides the harness's result of one task. name: the name in params.yaml that runs it."""
    settings = {key: options[key] for key in ("batch_size", "chat_template_kwargs")} | {"seed": seed}
    facts = {"model": model, "name": name, "task": task, "facts": facts}
    return hash_of(facts | {"settings": settings, "code": code_hash("measures/harness")})


def scores_metadata(
    fingerprints: dict[Part, str], parts: dict[Part, Measurement], settings: dict[str, Any]
) -> dict[bytes, bytes]:
    """The metadata of a file of scores: fingerprint and content hash of each part, and the settings of the evaluation."""
    listed = [
        {"dataset": dataset, "part": part, "made_of": fingerprints[dataset, part], "holds": content_hash(measurement)}
        | {"columns": list(measurement.columns), "facts": measurement.facts}
        for (dataset, part), measurement in sorted(parts.items())
    ]
    return {METADATA_KEY: json.dumps({"measured": listed, "settings": settings}, sort_keys=True).encode()}


def content_hash(part: Measurement) -> str:
    return hash_of([part.ids, {name: column.to_pylist() for name, column in part.columns.items()}, part.facts])


def partial_scores_path(model: str) -> Path:
    """The file that has a model's measurements while a judge is asked: a judge may fail, and DVC removes a stage's outputs."""
    return Path(".work/scores", f"{model}.parquet")


def save_partial_scores(model: str, fingerprints: dict[Part, str], parts: dict[Part, Measurement]) -> None:
    """Write measurements where `find_parts` finds them. All parts of one dataset have the same rows."""
    columns: dict[str, dict[str, Any]] = {dataset: {} for dataset, _ in parts}
    for (dataset, _), part in parts.items():
        columns[dataset] |= {"dataset": [dataset] * len(part.ids), "id": part.ids} | part.columns
    tables = [pa.table(each) for each in columns.values() if each["id"]]
    if tables:
        partial_scores_path(model).parent.mkdir(parents=True, exist_ok=True)
        table = pa.concat_tables(tables, promote_options="default").replace_schema_metadata(
            scores_metadata(fingerprints, parts, {})
        )
        pq.write_table(table, partial_scores_path(model), compression="zstd")


# -- where parts may be -----------------------------------------------------------------------------------------------


def find_parts(model: str, fingerprints: dict[Part, str]) -> dict[Part, Measurement]:
    """The earlier measurements of parts. fingerprints: of the parts that are needed."""
    found: dict[Part, Measurement] = {}
    if not fingerprints:
        return found
    for described, measurement in earlier_parts(model, lambda part: part["made_of"] in fingerprints.values()):
        # two datasets may have the same fingerprint
        same = [part for part, fingerprint in fingerprints.items() if fingerprint == described["made_of"]]
        found = dict.fromkeys(same, measurement) | found
        if len(found) == len(fingerprints):
            break
    return found


def earlier_parts(model: str, wants: Callable[[Description], bool]) -> Iterator[tuple[Description, Measurement]]:
    """(Description, Measurement) of every wanted part of earlier builds. Prints the name of a broken file."""
    seen = set()
    for name, path in candidate_files(model):
        if (real := path.resolve()) in seen or not path.is_file():
            continue
        seen.add(real)
        try:
            parts = read_parts(path, wants)
        except Exception as error:  # pyarrow may raise anything on broken bytes
            print(f"evaluate {model}: {name} is not used: {' '.join(str(error).split())[:120]}")
            continue
        yield from parts


def candidate_files(model: str) -> Iterator[tuple[str, Path]]:
    """(name, path) of every file that may have wanted parts: of this folder, then of DVC's cache, the likeliest first."""
    own = Path("scores", f"{model}.parquet")
    others = (path for path in sorted(Path("scores").glob("*.parquet")) if path != own)
    # a training wrote scores/align.seen.parquet and the like
    yield from (
        (str(path), path) for path in (own, partial_scores_path(model), *others) if path.suffixes == [".parquet"]
    )
    for record in stage_runs("evaluate", "evaluate_base"):
        for path, md5 in record.outs.items():
            if path.endswith(".parquet"):
                yield f"{path} of an earlier build ({md5[:8]})", object_path(md5)


def read_parts(path: Path, wants: Callable[[Description], bool]) -> list[tuple[Description, Measurement]]:
    """(Description, Measurement) of the wanted parts of a file. Raises where the file does not match its metadata."""
    with pq.ParquetFile(path) as file:
        metadata = file.schema_arrow.metadata or {}
        if METADATA_KEY not in metadata:
            return []  # an old file, without fingerprints
        listed = [part for part in json.loads(metadata[METADATA_KEY])["measured"] if wants(part)]
        if not listed:
            return []
        table = file.read(columns=["dataset", "id", *sorted({name for part in listed for name in part["columns"]})])
    parts = []
    for part in listed:
        rows = table.filter(pa.compute.equal(table["dataset"], part["dataset"])).combine_chunks()
        columns = {name: rows[name].combine_chunks() for name in part["columns"]}
        measurement = Measurement(rows["id"].to_pylist(), columns, part["facts"])
        if content_hash(measurement) != part["holds"]:
            raise ValueError(f"what it holds of {part['dataset']} was changed")
        parts.append((part, measurement))
    return parts
