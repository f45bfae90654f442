"""What became of every raw record of a dataset, by stage and reason, from the tables themselves.

account("chat", ["sft"]) -> {"dataset": "chat", "records": 3900, "rows": 3880, "rejected": {"ingest": {...}, ...}, "faults": [],
                             "not_sampled": 0, "not_trained": {"sft": {"SAID": 3}}, "not_scored": {}, "kept": None, ...}
"""

from collections import Counter


def is_built(item):
    return None not in (*item["rejected"].values(), item["train"], item["eval"])


def account(name, steps=(), rule=None):
    """What became of every record of a dataset, as plain data; `find_faults` says what does not add up.

    steps: the names of those that train on it. What preflight leaves out is None where it has not seen these rows.
    rule: what `difficulty` says of it, None where it says nothing.

    Raises Problems where nothing is built yet, or a file cannot be read.
    """
    from stages.core.outcomes import separate_not_sampled
    from stages.rows.rejects import counts_by_check, reject_counts

    parts, refused = read_ingested(name)
    invalid, rejected = (
        read_parquet(f"data/{room}/{name}.parquet", reject_counts) for room in ("validated", "rejected")
    )
    train, held_out = (read_columns(f"data/{room}/{name}.parquet", []) for room in ("train", "eval"))
    origins = [read_columns(part, ["source", "line"]) for part in parts]
    rows, records = sum(map(len, origins)), sum(count_records(origin) for origin in origins)
    turned_away, not_sampled = (None, None) if rejected is None else separate_not_sampled(rejected)
    checks = {
        "ingest": counts_by_check(refused),
        "validate": None if invalid is None else counts_by_check(invalid),
        "curate": None if turned_away is None else counts_by_check(turned_away, "curate"),
    }
    found = {
        "dataset": name,
        "records": records + refused.total(),
        "rows": rows,
        "rejected": checks,
        "not_sampled": not_sampled,
        "train": None if train is None else len(train),
        "eval": None if held_out is None else len(held_out),
    }
    found |= count_left_out(name, steps, found["train"]) | {"kept": count_kept(name, rule, found["train"])}
    return found | {"faults": find_faults(found, rejected)}


def count_kept(name, rule, train):
    """{rule, kept, not_kept: {check: rows}} of the train prompts that `difficulty` sorts; None where it does not.

    `kept` is None where these rows are not sorted yet.
    """
    from stages.rows.rejects import counts_by_check
    from stages.training.kept_prompts import kept_path

    if rule is None:
        return None
    rows = read_columns(kept_path(name), ["check"])
    if rows is None or len(rows) != train:
        return {"rule": rule, "kept": None, "not_kept": {}}
    counts = Counter(("keep", check) for check in rows["check"].to_pylist() if check)
    return {"rule": rule, "kept": train - counts.total(), "not_kept": counts_by_check(counts)}


def count_left_out(name, steps, rows):
    """{"not_trained": {step: {proof: rows}}, "not_scored": {proof: rows}} by preflight. rows: in train."""
    from pathlib import Path

    from stages.training.left_out_rows import DROPPED, UNSCORED, count_by_proof, read_left_out

    return {
        "not_trained": {
            step: count_by_proof(read_left_out(DROPPED, step=step)) if is_examined(step, name, rows) else None
            for step in steps
        },
        "not_scored": count_by_proof(read_left_out(UNSCORED, dataset=name)) if Path(UNSCORED).exists() else None,
    }


def is_examined(step, name, rows):
    """Whether preflight has examined a step on so many rows of this dataset."""
    import json
    from pathlib import Path

    path = Path("preflight", f"{step}.json")
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return (found.get("dataset"), found.get("rows")) == (name, rows)


def find_faults(found, rejected):
    """What does not add up, in words. rejected: {(stage, check): records} of the file of all rejects."""
    if not is_built(found):
        return []
    sums = {stage: sum(counts.values()) for stage, counts in found["rejected"].items()}
    from stages.rows.rejects import counts_by_check

    wrong = []
    out = sums["validate"] + sums["curate"] + found["not_sampled"] + found["train"] + found["eval"]
    if out != found["rows"]:
        wrong.append(f"does not add up: {found['rows']:,} rows in, but {out:,} in train, eval and rejected")
    for stage in ("ingest", "validate"):
        there = sum(counts_by_check(rejected, stage).values())
        if there != sums[stage]:
            said = f"{stage} rejected {sums[stage]:,}, but data/rejected has {there:,} of them"
            wrong.append(f"does not add up: {said}")
    return wrong


def read_ingested(name):
    """(Parquet files of rows, counts of rejects) of ingest. Raises Problems where it has not run."""
    from pathlib import Path

    from stages.rows.rejects import reject_counts
    from validators.problems import Problem, Problems

    folder = Path("data/ingested", name)
    refused = read_parquet(folder / "rejects.parquet", reject_counts)
    if refused is None:
        hint = f"dvc repro curate@{name}, or dvc pull if a colleague built it"
        raise Problems([Problem(f"datasets.{name}", f"{folder} is not there: nothing is built yet", "", hint)])
    return sorted((folder / "rows").glob("*.parquet")), refused


def read_columns(path, columns):
    """Columns of a Parquet file, None where the file is not there. Raises Problems where it is no Parquet."""
    import pyarrow.parquet as pq

    return read_parquet(path, lambda path: pq.read_table(path, columns=columns))


def read_parquet(path, look):
    """What `look` finds in a Parquet file, None where the file is not there. Raises Problems where it is no Parquet."""
    from pathlib import Path

    import pyarrow as pa

    from validators.problems import Problem, Problems

    if not Path(path).exists():
        return None
    try:
        return look(path)
    except (pa.ArrowException, OSError, KeyError) as error:  # KeyError: of a column
        found = str(error).splitlines()[0]
        raise Problems(
            [Problem(str(path), f"cannot be read: {found}", "Parquet", "dvc checkout, or dvc repro")]
        ) from None


def count_records(origin):
    """How many records rows come from: those of one record stand beside each other."""
    lines, sources = origin["line"].to_numpy(), origin["source"].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = (lines[1:] != lines[:-1]) | (sources[1:] != sources[:-1])
    return int(changes.sum()) + bool(len(lines))
