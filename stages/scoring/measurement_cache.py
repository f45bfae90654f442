"""What was measured before, found by what made it: the model, the rows, the settings, the code. Nothing is measured twice.

    find("align", {("chat", "answers"): "5f0e..."}) -> {("chat", "answers"): Found(ids, {"cut": ..., "generation": ...})}

scores/<model>.parquet says of each part what it was made of, and the hash of what it holds. Parts are looked for in the
files that this folder has, and in those that DVC's cache has of builds before: so another dataset is measured alone, and
neither a new name of a step nor a new metric loads a model. What is taken over is what would be measured, to the byte.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.code_lists import code_hash
from stages.core.dvc_cache import object_path, stage_runs
from stages.core.hashes import sha256
from stages.scoring.answers import SETTINGS, EvalRows
from stages.scoring.eval_settings import METADATA_KEY
from stages.training.models import BASE, full_weights, part_of_model

Part = tuple[str, str]  # a dataset, or `lm_eval/<task>`; and what is measured of it


@dataclass
class Measurement:
    """One part of a dataset. ids: of the rows, in order. columns: {name: Arrow array}, each (rows,). facts: numbers beside them."""

    ids: list
    columns: dict
    facts: dict


# -- what made it -----------------------------------------------------------------------------------------------------


def hash_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_of_model(folder: Path) -> str:
    """The hash of what a model computes with: its files, and the base's under adapters; no names of steps, no cards."""
    folders = {"": folder} | ({"base/": BASE} if full_weights(folder) != folder else {})
    return hash_of(
        {
            prefix + part: sha256(path)
            for prefix, each in folders.items()
            for path in sorted(each.rglob("*"))
            if path.is_file() and (part := part_of_model(path.relative_to(each).as_posix()))
        }
    )


def part_fingerprint(model: str, part: str, asked: EvalRows, options: dict, seed: int) -> str:
    """The hash of all that decides one part of what is measured. model: see `hash_of_model`."""
    rows = [{key: value for key, value in row.items() if key not in ("source", "line", "slices")} for row in asked.rows]
    settings = {key: options[key] for key in SETTINGS[part]} | ({"seed": seed} if part == "samples" else {})
    facts = {"part": part, "model": model, "kind": asked.kind, "reasoning": asked.reasoning, "rows": rows}
    return hash_of(facts | {"settings": settings, "code": code_hash("measures/answers")})


def task_fingerprint(model: str, name: str, task: str, facts: dict, options: dict, seed: int) -> str:
    """The hash of all that decides what the harness finds of one task. name: the one that it is run under."""
    settings = {key: options[key] for key in ("batch_size", "chat_template_kwargs")} | {"seed": seed}
    facts = {"model": model, "name": name, "task": task, "facts": facts}
    return hash_of(facts | {"settings": settings, "code": code_hash("measures/harness")})


def scores_metadata(made: dict[Part, str], parts: dict[Part, Measurement], settings: dict) -> dict[bytes, bytes]:
    """The metadata of a file of scores: of each part what made it, and the hash of what it holds; what the model was asked with."""
    listed = [
        {"dataset": dataset, "part": part, "made_of": made[dataset, part], "holds": content_hash(found)}
        | {"columns": list(found.columns), "facts": found.facts}
        for (dataset, part), found in sorted(parts.items())
    ]
    return {METADATA_KEY: json.dumps({"measured": listed, "settings": settings}, sort_keys=True).encode()}


def content_hash(found: Measurement) -> str:
    return hash_of([found.ids, {name: column.to_pylist() for name, column in found.columns.items()}, found.facts])


def partial_scores_path(model: str) -> Path:
    """Where all that was measured of a model is kept while a judge is asked: a judge may fail, and DVC removes what a stage left."""
    return Path(".work/scores", f"{model}.parquet")


def save_partial_scores(model: str, made: dict[Part, str], parts: dict[Part, Measurement]) -> None:
    """Write what was measured, to be found again. Of one dataset all parts have the same rows."""
    columns = {dataset: {} for dataset, _ in parts}
    for (dataset, _), found in parts.items():
        columns[dataset] |= {"dataset": [dataset] * len(found.ids), "id": found.ids} | found.columns
    tables = [pa.table(each) for each in columns.values() if each["id"]]
    if tables:
        partial_scores_path(model).parent.mkdir(parents=True, exist_ok=True)
        table = pa.concat_tables(tables, promote_options="default").replace_schema_metadata(
            scores_metadata(made, parts, {})
        )
        pq.write_table(table, partial_scores_path(model), compression="zstd")


# -- where it may be --------------------------------------------------------------------------------------------------


def find_parts(model: str, wanted: dict[Part, str]) -> dict[Part, Measurement]:
    """What was measured before of the parts that are wanted. wanted: {part: what would make it}."""
    found = {}
    if not wanted:
        return found
    for described_part, each in earlier_parts(model, lambda part: part["made_of"] in wanted.values()):
        made_of = described_part["made_of"]
        found = {part: each for part, made in wanted.items() if made == made_of} | found  # two datasets may be the same
        if len(found) == len(wanted):
            break
    return found


def earlier_parts(model: str, wants: Callable[[dict], bool]) -> Iterator[tuple[dict, Measurement]]:
    """Every part of an earlier build that is wanted, as its file describes it, and what it is. What is broken is named."""
    seen = set()
    for name, path in candidate_files(model):
        if (real := path.resolve()) in seen or not path.is_file():
            continue
        seen.add(real)
        try:
            taken = read_parts(path, wants)
        except Exception as error:  # whatever pyarrow makes of bytes that may be anything
            print(f"evaluate {model}: {name} is not used: {' '.join(str(error).split())[:120]}")
            continue
        yield from taken


def candidate_files(model: str) -> Iterator[tuple[str, Path]]:
    """(name, path) of every file that may have what is wanted: of this folder, then of DVC's cache, the likeliest first."""
    own = Path("scores", f"{model}.parquet")
    others = (path for path in sorted(Path("scores").glob("*.parquet")) if path != own)
    # scores/align.seen.parquet and the like are of a training
    yield from (
        (str(path), path) for path in (own, partial_scores_path(model), *others) if path.suffixes == [".parquet"]
    )
    for record in stage_runs("evaluate", "evaluate_base"):
        for path, md5 in record.outs.items():
            if path.endswith(".parquet"):
                yield f"{path} of an earlier build ({md5[:8]})", object_path(md5)


def read_parts(path: Path, wants: Callable[[dict], bool]) -> list[tuple[dict, Measurement]]:
    """(how it is described, Found) of the parts of a file that are wanted. Raises where the file is not what it says."""
    with pq.ParquetFile(path) as file:
        metadata = file.schema_arrow.metadata or {}
        if METADATA_KEY not in metadata:
            return []  # of a time when it did not say what it was made of
        listed = [part for part in json.loads(metadata[METADATA_KEY])["measured"] if wants(part)]
        if not listed:
            return []
        table = file.read(columns=["dataset", "id", *sorted({name for part in listed for name in part["columns"]})])
    found = []
    for part in listed:
        rows = table.filter(pa.compute.equal(table["dataset"], part["dataset"])).combine_chunks()
        columns = {name: rows[name].combine_chunks() for name in part["columns"]}
        each = Measurement(rows["id"].to_pylist(), columns, part["facts"])
        if content_hash(each) != part["holds"]:
            raise ValueError(f"what it holds of {part['dataset']} was changed")
        found.append((part, each))
    return found
