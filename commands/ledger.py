"""`tilth ledger`: the whole account of a dataset, from raw records to train and eval, by stage and reason.

data/ingested/<d>/, data/validated/<d>.parquet, data/train/, data/eval/, data/rejected/ -> a table; exit 1 if it does not add up
"""

from typing import Annotated

import typer

Name = Annotated[str | None, typer.Argument(help="A name under `datasets` of params.yaml; all of them if left out.")]
Check = Annotated[str | None, typer.Option(help="Show the records that this check turned away.")]
Limit = Annotated[int, typer.Option(min=0, help="How many records --check shows at most; 0 for all.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(dataset: Name = None, check: Check = None, limit: Limit = 20, as_json: Json = False):
    """Account for every raw record of a dataset: train, eval, or rejected by which check."""
    from validators.params import mapping, read
    from validators.problems import Problem, Problems, did_you_mean

    known = mapping(read(), "datasets")
    if dataset and dataset not in known:
        where = f"tilth ledger {ascii(dataset)[1:-1]}"
        raise Problems(
            [Problem(where, f"no dataset {dataset!r}", "a name under datasets", did_you_mean(dataset, known))]
        )
    names = [dataset] if dataset else list(known)
    if check:
        show_rejected(names, check, limit, as_json)
        return
    accounts = [account(name) for name in names]
    if as_json:
        import json

        print(json.dumps(accounts, indent=2))
    else:
        for item in accounts:
            show(item)
    faults = [
        Problem(f"datasets.{item['dataset']}", fault, "", again(item)) for item in accounts for fault in item["faults"]
    ]
    if faults:
        raise Problems(faults)


def again(item):
    return f"a stage ran without the next: dvc repro curate@{item['dataset']}"


# -- the account --------------------------------------------------------------------------------------------------


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


# -- shown --------------------------------------------------------------------------------------------------------


def show(item):
    """Print an account as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    view = Table(title=Text(f"{item['dataset']}"), title_justify="left", box=box.SIMPLE)
    view.add_column("stage")
    view.add_column("what", no_wrap=True)
    view.add_column("rows", justify="right")
    for stage, what, count in lines_of(item):
        view.add_row(Text(stage), Text(what), Text(count))
    # in a narrow terminal a line may wrap, but no number may be left out
    Console(highlight=False, markup=False, emoji=False, width=max(Console().width, 72)).print(view)
    print(balance(item))


def balance(item):
    """The account in one line."""
    if item["faults"] or not built(item):
        return "does not add up" if item["faults"] else f"not built to the end: dvc repro curate@{item['dataset']}"
    out = [sum(item["rejected"][stage].values()) for stage in ("validate", "curate")]
    parts = f"{out[0]:,} + {out[1]:,} rejected + {item['train']:,} train + {item['eval']:,} eval"
    return f"{item['rows']:,} rows = {parts}: all accounted for"


def built(item):
    return None not in (*item["rejected"].values(), item["train"], item["eval"])


def lines_of(item):
    """(stage, what, count) for each line of the table."""
    from stages.rows.tables import shown

    lines, stage = [("ingest", "raw records", f"{item['records']:,}")], "ingest"
    for stage, counts in item["rejected"].items():
        if stage != "ingest":
            lines.append((stage, "" if counts else "nothing rejected" if counts is not None else "not built yet", ""))
        for check, count in (counts or {}).items():
            lines.append(("", f"rejected by {shown(check)}", f"-{count:,}"))
        if stage == "ingest":
            lines.append(("", "rows made of the others", f"{item['rows']:,}"))
    lines += [
        (side, "" if item[side] is not None else "not built yet", f"{item[side] or 0:,}") for side in ("train", "eval")
    ]
    return lines


def show_rejected(names, check, limit, as_json):
    """Print the records that a check turned away."""
    rejects = [row for name in names for row in rejects_of(name)]
    rows = [row for row in rejects if row["check"] == check]
    if not rows:
        none_found(check, {row["check"] for row in rejects}, names)
    elif as_json:
        import json

        print(json.dumps(rows, indent=2))
    else:
        from stages.rows.tables import shown

        for row in rows[: limit or None]:
            print(
                f"{shown(row['source'])}:{row['line']}: {shown(row['detail'] or '', 200)}\n    {shown(row['raw'] or '', 200)}"
            )
        if limit and len(rows) > limit:
            print(f"{len(rows) - limit:,} more: --limit 0 shows all {len(rows):,}")


def none_found(check, seen, names):
    """Say that a check turned nothing away. Raises Problems where there is no such check."""
    from stages.rows.checks import every_check
    from validators.problems import Problem, Problems, did_you_mean

    known = {*every_check(), *seen}
    if check not in known:
        hint = did_you_mean(check, known)
        hint = (
            hint if hint.startswith("did") else "docs/checks.md lists them; without --check, those that found something"
        )
        raise Problems([Problem("tilth ledger --check", f"no check {check!r}", "a name of docs/checks.md", hint)])
    print(f"{check} turned away no record of {', '.join(names)}")


def rejects_of(name):
    """Every reject of a dataset so far, as dicts."""
    columns = ["source", "line", "stage", "check", "detail", "raw"]
    everything = table(f"data/rejected/{name}.parquet", columns)
    if everything is not None:
        return everything.to_pylist()
    ingested(name)
    found = [
        table(path, columns) for path in (f"data/ingested/{name}/rejects.parquet", f"data/validated/{name}.parquet")
    ]
    return [row for rejects in found if rejects is not None for row in rejects.to_pylist()]
