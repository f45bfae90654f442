"""Answers that were sampled before, found by a fingerprint of the model, the prompts, the settings and the code.

    found = find_parts("problems", {"5f0e...", "77ab..."}) -> {"5f0e...": SampledPart(table, "exact_match ...")}

Parts are looked for in `.work/difficulty/<d>/`, where a run saves each part at once, in data/sampled/, and in DVC's cache of
earlier builds. The metadata of data/sampled/<d>.parquet has the content hash of each part, and the function that graded it.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.code_lists import code_hash
from stages.core.dvc_cache import object_path, stage_runs
from stages.rows.types import Row
from stages.scoring.measurement_cache import hash_of
from stages.scoring.samples import SAMPLING_KEYS, SCHEMA

METADATA_KEY = b"tilth"
OUT = Path("data/sampled")
COLUMNS = pa.schema([*SCHEMA, pa.field("right", pa.list_(pa.float32())), pa.field("part", pa.string())])


@dataclass
class SampledPart:
    """The answers of one part. table: COLUMNS without `part`. judged_by: what filled `right`, None before the grading."""

    table: pa.Table
    judged_by: str | None = None


def part_fingerprint(model: str, part: Sequence[Row], rule: dict[str, Any], seed: int) -> str:
    """The hash of all that decides the answers of a part. model: see `measurement_cache.hash_of_model`."""
    rows = [{"id": row["id"], "prompt": row["prompt"]} for row in part]
    settings = {key: rule[key] for key in SAMPLING_KEYS}
    return hash_of(
        {"model": model, "rows": rows, "settings": settings, "seed": seed, "code": code_hash("measures/samples")}
    )


def grader_fingerprint(function: str) -> str:
    """A function that grades answers, and the hash of its code."""
    return f"{function} {code_hash(f'rewards/{function}')}"


# -- where parts may be -----------------------------------------------------------------------------------------------


def find_parts(name: str, wanted: Set[str]) -> dict[str, SampledPart]:
    """{fingerprint: SampledPart} of the wanted parts that exist. Prints the name of a broken file, and does not use it."""
    found: dict[str, SampledPart] = {}
    for place, path in candidate_files(name):
        if wanted <= found.keys():
            break
        if not path.is_file():
            continue
        try:
            found |= read_parts(path, wanted - found.keys())
        except Exception as error:  # pyarrow may raise anything on broken bytes
            print(f"difficulty {name}: {place} is not used: {' '.join(str(error).split())[:120]}")
    return found


def candidate_files(name: str) -> Iterator[tuple[str, Path]]:
    """(name, path) of every file that may have wanted parts: of a killed run, of this folder, of earlier builds."""
    yield from (
        (str(path), path) for path in (*sorted(work_folder(name).glob("*.parquet")), *sorted(OUT.glob("*.parquet")))
    )
    for record in stage_runs("difficulty"):
        for path, md5 in record.outs.items():
            yield f"{path} of an earlier build ({md5[:8]})", object_path(md5)


def read_parts(path: Path, wanted: Set[str]) -> dict[str, SampledPart]:
    """{fingerprint: SampledPart} of the wanted parts of a file. Raises where the file does not match its metadata."""
    with pq.ParquetFile(path) as file:
        metadata = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
        hashes = {fingerprint: each for fingerprint, each in metadata["parts"].items() if fingerprint in wanted}
        if not hashes:
            return {}
        table = file.read()
    found: dict[str, SampledPart] = {}
    first = 0
    for fingerprint, group in groupby(table["part"].to_pylist()):
        rows, first = table.slice(first, count := len(list(group))), first + count
        if fingerprint in hashes:
            if hash_of(rows.to_pylist()) != hashes[fingerprint]:
                raise ValueError("what it holds was changed")
            answers = rows.drop_columns("part").cast(pa.schema(list(COLUMNS)[:-1]))
            found[fingerprint] = SampledPart(answers, metadata["judged_by"])
    return found


# -- writing ----------------------------------------------------------------------------------------------------------


def work_folder(name: str) -> Path:
    return Path(".work/difficulty", name)


def save_part(name: str, fingerprint: str, part: SampledPart) -> None:
    """Save a part where the next run finds it, whole or not at all."""
    path = work_folder(name) / f"{fingerprint}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parts(path.with_suffix(".partial"), {fingerprint: part}, part.judged_by)
    os.replace(path.with_suffix(".partial"), path)


def write_parts(path: Path, parts: Mapping[str, SampledPart], judged_by: str | None) -> None:
    """Write parts as one file. Its bytes depend on the content alone. parts: by fingerprint."""
    tables = {
        fingerprint: part.table.append_column("part", pa.array([fingerprint] * part.table.num_rows, pa.string()))
        for fingerprint, part in parts.items()
    }
    hashes = {fingerprint: hash_of(table.to_pylist()) for fingerprint, table in tables.items()}
    metadata = {"judged_by": judged_by, "parts": hashes}
    whole = pa.concat_tables([COLUMNS.empty_table(), *tables.values()]).combine_chunks()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
    pq.write_table(
        whole.replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True)}), path, compression="zstd"
    )


def delete_other_parts(name: str, wanted: Collection[str]) -> None:
    """Delete the parts of other models, rows or settings from `.work/`."""
    for path in work_folder(name).glob("*"):
        if path.stem not in wanted:
            path.unlink()
