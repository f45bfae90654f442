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
from stages.core.progress import progress
from stages.rows.batches import batches
from stages.scoring import drawn
from stages.scoring.drawn import Drawn
from stages.scoring.earlier import hash_of_model
from stages.scoring.right import judged
from stages.scoring.samples import draw, parts_of

TRIED = 200  # rows that the function is tried on before anything is drawn
COLUMNS = ["id", "prompt", "ground_truth", "extra", "source", "line"]


def main(name):
    params = read_params("difficulty", name)
    rule, out = params["difficulty"][name], drawn.OUT / f"{name}.parquet"
    if not params.get("steps"):
        drawn.write(out, {}, None)
        print(f"difficulty {name}: no step trains on it, so nothing is asked")
        return False
    rows = [row for part in batches(f"data/train/{name}.parquet", COLUMNS) for row in part]
    where = f"difficulty.{name}.by"
    judged(rule["by"], rows[:TRIED], [[row["ground_truth"], ""] for row in rows[:TRIED]], where)
    folder = Path("models", rule["from"])
    model = hash_of_model(folder)
    parts = {drawn.made_of(model, part, rule, params["seed"]): part for part in parts_of(rows)}
    drawn.forget(name, parts.keys())
    found = drawn.find(name, parts.keys())
    before = sum(len(parts[made]) for made in found)
    sample_others(name, {made: part for made, part in parts.items() if made not in found}, found, folder, rule, params["seed"])
    judge = drawn.judge_of(rule["by"])
    for made, part in parts.items():
        if found[made].judged_by != judge:
            found[made] = right_of(found[made], part, rule["by"], judge, where)
            drawn.save(name, made, found[made])
    drawn.write(out, {made: found[made] for made in parts}, judge)
    taken = f", {before:,} of them before" if before else ""
    print(f"difficulty {name}: {len(rows):,} prompts, {rule['samples']} answers to each by {rule['from']}{taken}, right by {rule['by']}")
    if cut := sum(sum(each or ()) for part in found.values() for each in part.table["cut"].to_pylist()):
        print(f"  {cut:,} answers are cut at {rule['max_new_tokens']} tokens")
    return before < len(rows)


def sample_others(name, missing, found, folder, rule, seed):
    """Add to `found` the parts that are missing, each kept in `.work/` as soon as it is there. missing: {what makes it: rows}."""
    if not missing:
        return
    from stages.scoring.generation import loaded

    model = loaded(folder, rule["batch_size"], rule["max_new_tokens"])
    with progress(sum(map(len, missing.values())), f"difficulty {name}", "prompt") as bar:
        for made, part in missing.items():
            table = draw(model, part, rule, seed)
            found[made] = Drawn(table.append_column("right", pa.nulls(table.num_rows, pa.list_(pa.float32()))))
            drawn.save(name, made, found[made])
            bar.update(len(part))


def right_of(part, rows, function, judge, where):
    """A part with its answers judged."""
    said = [answers or [] for answers in part.table["answers"].to_pylist()]
    right = pa.array(judged(function, rows, said, where), pa.list_(pa.float32()))
    at = part.table.schema.get_field_index("right")
    return Drawn(part.table.set_column(at, pa.field("right", right.type), right), judge)
