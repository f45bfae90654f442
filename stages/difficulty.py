"""Sample several answers of a model to each train prompt of a grpo dataset, and grade them right or wrong.

models/<from>/, models/base/, data/train/<d>.parquet -> data/sampled/<d>.parquet

    {"id": "9a1c...", "answers": ["It is 7.", "8", ...], "cut": [false, ...], "left_out": null, "right": [1.0, 0.0, ...], "part": "5f0e..."}

`keep` decides from it which prompts are trained on. A function that returns 1 or 0 (`by`) grades, never a shaped reward. Answers of
the same model, prompts and settings are reused from this run, a killed one or an earlier build; where all are, no model is loaded.
An edit of the function grades the answers anew and samples none. Where no step trains on the dataset, nothing is sampled.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.core.params import read_params
from stages.core.progress import progress_bar
from stages.rows.batches import batches
from stages.rows.types import Row
from stages.scoring import sample_cache
from stages.scoring.grading import grade_answers
from stages.scoring.measurement_cache import hash_of_model
from stages.scoring.sample_cache import SampledPart
from stages.scoring.samples import sample_part, split_into_parts

TRIAL_ROWS = 200  # rows that the function is tried on before anything is sampled
COLUMNS = ["id", "prompt", "ground_truth", "extra", "source", "line"]


def main(name: str) -> bool:
    """Sample and grade; False where no model was asked."""
    params = read_params("difficulty", name)
    rule, out = params["difficulty"][name], sample_cache.OUT / f"{name}.parquet"
    if not params.get("steps"):
        sample_cache.write_parts(out, {}, None)
        print(f"difficulty {name}: no step trains on it, so nothing is asked")
        return False
    rows = [row for part in batches(f"data/train/{name}.parquet", COLUMNS) for row in part]
    where = f"difficulty.{name}.by"
    grade_answers(rule["by"], rows[:TRIAL_ROWS], [[row["ground_truth"], ""] for row in rows[:TRIAL_ROWS]], where)
    folder = Path("models", rule["from"])
    model = hash_of_model(folder)
    parts = {sample_cache.part_fingerprint(model, part, rule, params["seed"]): part for part in split_into_parts(rows)}
    sample_cache.delete_other_parts(name, parts.keys())
    found = sample_cache.find_parts(name, parts.keys())
    before = sum(len(parts[key]) for key in found)
    missing = {key: part for key, part in parts.items() if key not in found}
    sample_missing_parts(name, missing, found, folder, rule, params["seed"])
    grader = sample_cache.grader_fingerprint(rule["by"])
    for key, part in parts.items():
        if found[key].judged_by != grader:
            found[key] = grade_part(found[key], part, rule["by"], grader, where)
            sample_cache.save_part(name, key, found[key])
    sample_cache.write_parts(out, {key: found[key] for key in parts}, grader)
    reused = f", {before:,} of them before" if before else ""
    print(
        f"difficulty {name}: {len(rows):,} prompts, {rule['samples']} answers to each by {rule['from']}{reused}, right by {rule['by']}"
    )
    if cut := sum(sum(each or ()) for part in found.values() for each in part.table["cut"].to_pylist()):
        print(f"  {cut:,} answers are cut at {rule['max_new_tokens']} tokens")
    return before < len(rows)


def sample_missing_parts(
    name: str,
    missing: dict[str, list[Row]],
    found: dict[str, SampledPart],
    folder: Path,
    rule: dict[str, Any],
    seed: int,
) -> None:
    """Add the missing parts to `found`, and save each in `.work/` at once. missing: {fingerprint: rows}. folder: of the model."""
    if not missing:
        return
    from stages.scoring.generation import load_for_generation

    model = load_for_generation(folder, rule["batch_size"], rule["max_new_tokens"])
    with progress_bar(sum(map(len, missing.values())), f"difficulty {name}", "prompt") as bar:
        for key, part in missing.items():
            table = sample_part(model, part, rule, seed)
            found[key] = SampledPart(table.append_column("right", pa.nulls(table.num_rows, pa.list_(pa.float32()))))
            sample_cache.save_part(name, key, found[key])
            bar.update(len(part))


def grade_part(part: SampledPart, rows: Sequence[Row], function: str, grader: str, where: str) -> SampledPart:
    """A part with its answers graded. grader: see `grader_fingerprint`."""
    answers = [texts or [] for texts in part.table["answers"].to_pylist()]
    right = pa.array(grade_answers(function, rows, answers, where), pa.list_(pa.float32()))
    place = part.table.schema.get_field_index("right")
    return SampledPart(part.table.set_column(place, pa.field("right", right.type), right), grader)
