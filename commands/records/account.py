"""What became of every raw record of a dataset, by stage and reason, from the tables themselves.

account("chat") -> {"dataset": "chat", "records": 3900, "rows": 3880, "rejected": {"ingest": {...}, ...}, "faults": [], ...}
"""


def built(item):
    return None not in (*item["rejected"].values(), item["train"], item["eval"])


def account(name):
    """What became of every record of a dataset, as plain data; `faults` says what does not add up.

    Raises Problems where nothing is built yet, or a file cannot be read.
    """
    parts, refused = ingested(name)
    invalid, rejected, train, held_out = (
        table(f"data/{room}/{name}.parquet", ["stage", "check"] if room in ("validated", "rejected") else [])
        for room in ("validated", "rejected", "train", "eval")
    )
    origins = [table(part, ["source", "line"]) for part in parts]
    rows, records = sum(map(len, origins)), sum(records_in(origin) for origin in origins)
    curated = [] if rejected is None else [row for row in rejected.to_pylist() if row["stage"] == "curate"]
    counts = {
        "ingest": counted(refused.to_pylist()),
        "validate": None if invalid is None else counted(invalid.to_pylist()),
        "curate": None if rejected is None else counted(curated),
    }
    found = {
        "dataset": name,
        "records": records + len(refused),
        "rows": rows,
        "rejected": counts,
        "train": None if train is None else len(train),
        "eval": None if held_out is None else len(held_out),
    }
    return found | {"faults": faults(found, {} if rejected is None else counted(rejected.to_pylist(), "stage"))}


def faults(found, by_stage):
    """What does not add up, in words. by_stage: {stage: records} of the file of all rejects."""
    if not built(found):
        return []
    sums = {stage: sum(counts.values()) for stage, counts in found["rejected"].items()}
    wrong = []
    out = sums["validate"] + sums["curate"] + found["train"] + found["eval"]
    if out != found["rows"]:
        wrong.append(f"does not add up: {found['rows']:,} rows in, but {out:,} in train, eval and rejected")
    for stage in ("ingest", "validate"):
        if by_stage.get(stage, 0) != sums[stage]:
            wrong.append(
                f"does not add up: {stage} rejected {sums[stage]:,}, but data/rejected has {by_stage.get(stage, 0):,} of them"
            )
    return wrong


def ingested(name):
    """(Parquet files of rows, table of rejects) of ingest. Raises Problems where it has not run."""
    from pathlib import Path

    from validators.problems import Problem, Problems

    folder = Path("data/ingested", name)
    refused = table(folder / "rejects.parquet", ["stage", "check"])
    if refused is None:
        hint = f"dvc repro curate@{name}, or dvc pull if a colleague built it"
        raise Problems([Problem(f"datasets.{name}", f"{folder} is not there: nothing is built yet", "", hint)])
    return sorted((folder / "rows").glob("*.parquet")), refused


def table(path, columns):
    """Columns of a Parquet file, None where the file is not there. Raises Problems where it is no Parquet."""
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from validators.problems import Problem, Problems

    if not Path(path).exists():
        return None
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        found = str(error).splitlines()[0]
        raise Problems(
            [Problem(str(path), f"cannot be read: {found}", "Parquet", "dvc checkout, or dvc repro")]
        ) from None


def records_in(origin):
    """How many records rows come from: those of one record stand beside each other."""
    lines, sources = origin["line"].to_numpy(), origin["source"].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = (lines[1:] != lines[:-1]) | (sources[1:] != sources[:-1])
    return int(changes.sum()) + bool(len(lines))


def counted(rejects, key="check"):
    """{name: count}, the most frequent first."""
    from collections import Counter

    counts = Counter(row[key] for row in rejects)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
