"""Answers that were drawn before, found by what made them: the model, the prompts, the settings, the code.

    found = find("problems", {"5f0e...", "77ab..."}) -> {"5f0e...": Drawn(table, "exact_match ...")}

Parts are looked for in `.work/difficulty/<d>/`, where a run leaves each as soon as it has it, in data/sampled/, and in what DVC's
cache has of builds before. data/sampled/<d>.parquet says in its metadata what each part holds, and by what it was judged.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.code_lists import code_hash
from stages.core.dvc_cache import object_path, stage_runs
from stages.scoring.measurement_cache import hash_of
from stages.scoring.samples import SAMPLING_KEYS, SCHEMA

METADATA_KEY = b"tilth"
OUT = Path("data/sampled")
COLUMNS = pa.schema([*SCHEMA, pa.field("right", pa.list_(pa.float32())), pa.field("part", pa.string())])


@dataclass
class SampledPart:
    """The answers of one part. table: as COLUMNS, but `part`; `right` is of `judged_by`, which is None where nobody judged yet."""

    table: pa.Table
    judged_by: str | None = None


def part_fingerprint(model: str, part: list[dict], rule: dict, seed: int) -> str:
    """The hash of all that decides the answers of a part. model: see `earlier.hash_of_model`."""
    rows = [{"id": row["id"], "prompt": row["prompt"]} for row in part]
    settings = {key: rule[key] for key in SAMPLING_KEYS}
    return hash_of(
        {"model": model, "rows": rows, "settings": settings, "seed": seed, "code": code_hash("measures/samples")}
    )


def grader_fingerprint(function: str) -> str:
    """What decides whether an answer is right: a function and its code."""
    return f"{function} {code_hash(f'rewards/{function}')}"


# -- where they may be ------------------------------------------------------------------------------------------------


def find_parts(name: str, wanted: set[str]) -> dict[str, SampledPart]:
    """{what made it: Drawn} of the parts that are wanted and there. What is broken is named, and not used."""
    found: dict[str, SampledPart] = {}
    for place, path in candidate_files(name):
        if wanted <= found.keys():
            break
        if not path.is_file():
            continue
        try:
            found |= read_parts(path, wanted - found.keys())
        except Exception as error:  # whatever pyarrow makes of bytes that may be anything
            print(f"difficulty {name}: {place} is not used: {' '.join(str(error).split())[:120]}")
    return found


def candidate_files(name: str) -> Iterator[tuple[str, Path]]:
    """(name, path) of every file that may have what is wanted: of a run that was killed, of this folder, of builds before."""
    yield from (
        (str(path), path) for path in (*sorted(work_folder(name).glob("*.parquet")), *sorted(OUT.glob("*.parquet")))
    )
    for record in stage_runs("difficulty"):
        for path, md5 in record.outs.items():
            yield f"{path} of an earlier build ({md5[:8]})", object_path(md5)


def read_parts(path: Path, wanted: set[str]) -> dict[str, SampledPart]:
    """{what made it: Drawn} of the parts of a file that are wanted. Raises where the file is not what it says."""
    with pq.ParquetFile(path) as file:
        told = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
        listed = {made: holds for made, holds in told["parts"].items() if made in wanted}
        table = file.read() if listed else None
    found, first = {}, 0
    for made, group in groupby(table["part"].to_pylist() if listed else ()):
        rows, first = table.slice(first, count := len(list(group))), first + count
        if made in listed:
            if hash_of(rows.to_pylist()) != listed[made]:
                raise ValueError("what it holds was changed")
            found[made] = SampledPart(rows.drop_columns("part").cast(pa.schema(list(COLUMNS)[:-1])), told["judged_by"])
    return found


# -- written ----------------------------------------------------------------------------------------------------------


def work_folder(name: str) -> Path:
    return Path(".work/difficulty", name)


def save_part(name: str, made: str, drawn: SampledPart) -> None:
    """Leave a part where the next run finds it, whole or not at all."""
    path = work_folder(name) / f"{made}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parts(path.with_suffix(".partial"), {made: drawn}, drawn.judged_by)
    os.replace(path.with_suffix(".partial"), path)


def write_parts(path: Path, parts: dict[str, SampledPart], judged_by: str | None) -> None:
    """Write parts as one file, whose bytes depend on what they say alone."""
    tables = {
        made: drawn.table.append_column("part", pa.array([made] * drawn.table.num_rows, pa.string()))
        for made, drawn in parts.items()
    }
    told = {"judged_by": judged_by, "parts": {made: hash_of(table.to_pylist()) for made, table in tables.items()}}
    whole = pa.concat_tables([COLUMNS.empty_table(), *tables.values()]).combine_chunks()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
    pq.write_table(
        whole.replace_schema_metadata({METADATA_KEY: json.dumps(told, sort_keys=True)}), path, compression="zstd"
    )


def delete_other_parts(name: str, wanted: set[str]) -> None:
    """Delete the parts of other models, rows or settings from `.work/`."""
    for path in work_folder(name).glob("*"):
        if path.stem not in wanted:
            path.unlink()
