"""Ask a model each train prompt of a grpo dataset several times, and judge its answers right or wrong.

models/<from>/, models/base/, data/train/<d>.parquet -> data/sampled/<d>.parquet

    {"id": "9a1c...", "answers": ["It is 7.", "8", ...], "cut": [false, ...], "left_out": null, "right": [1.0, 0.0, ...], "part": "5f0e..."}

`keep` makes of it which prompts are trained on. Right is what a function says that gives 1 or 0 (`by`), never a shaped reward. What
was drawn before of the same model, prompts and settings is taken over, by this run, a killed one or an earlier build; where all of it
was, no model is loaded. An edit of the function judges the answers anew and draws none. Where no step trains on the dataset,
nothing is asked.
"""

from pathlib import Path

import pyarrow as pa

from stages.core.params import read_params
from stages.core.progress import progress_bar
from stages.rows.batches import batches
from stages.scoring import sample_cache
from stages.scoring.grading import grade_answers
from stages.scoring.measurement_cache import hash_of_model
from stages.scoring.sample_cache import SampledPart
from stages.scoring.samples import sample_part, split_into_parts

TRIAL_ROWS = 200  # rows that the function is tried on before anything is drawn
COLUMNS = ["id", "prompt", "ground_truth", "extra", "source", "line"]


def main(name):
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
    before = sum(len(parts[made]) for made in found)
    sample_missing_parts(
        name, {made: part for made, part in parts.items() if made not in found}, found, folder, rule, params["seed"]
    )
    judge = sample_cache.grader_fingerprint(rule["by"])
    for made, part in parts.items():
        if found[made].judged_by != judge:
            found[made] = grade_part(found[made], part, rule["by"], judge, where)
            sample_cache.save_part(name, made, found[made])
    sample_cache.write_parts(out, {made: found[made] for made in parts}, judge)
    taken = f", {before:,} of them before" if before else ""
    print(
        f"difficulty {name}: {len(rows):,} prompts, {rule['samples']} answers to each by {rule['from']}{taken}, right by {rule['by']}"
    )
    if cut := sum(sum(each or ()) for part in found.values() for each in part.table["cut"].to_pylist()):
        print(f"  {cut:,} answers are cut at {rule['max_new_tokens']} tokens")
    return before < len(rows)


def sample_missing_parts(name, missing, found, folder, rule, seed):
    """Add to `found` the parts that are missing, each kept in `.work/` as soon as it is there. missing: {what makes it: rows}."""
    if not missing:
        return
    from stages.scoring.generation import load_for_generation

    model = load_for_generation(folder, rule["batch_size"], rule["max_new_tokens"])
    with progress_bar(sum(map(len, missing.values())), f"difficulty {name}", "prompt") as bar:
        for made, part in missing.items():
            table = sample_part(model, part, rule, seed)
            found[made] = SampledPart(table.append_column("right", pa.nulls(table.num_rows, pa.list_(pa.float32()))))
            sample_cache.save_part(name, made, found[made])
            bar.update(len(part))


def grade_part(part, rows, function, judge, where):
    """A part with its answers judged."""
    said = [answers or [] for answers in part.table["answers"].to_pylist()]
    right = pa.array(grade_answers(function, rows, said, where), pa.list_(pa.float32()))
    at = part.table.schema.get_field_index("right")
    return SampledPart(part.table.set_column(at, pa.field("right", right.type), right), judge)
