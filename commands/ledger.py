"""`tilth ledger`: the whole account of a dataset, from raw records to train and eval, by stage and reason.

data/ingested/<d>/, data/validated/<d>.parquet, data/train/, data/eval/, data/rejected/, preflight/ -> a table; exit 1 if it does
not add up
"""

from typing import Annotated

import typer

Name = Annotated[str | None, typer.Argument(help="A name under `datasets` of params.yaml; all of them if left out.")]
Check = Annotated[
    str | None, typer.Option(help="Show the records that this check, or a proof of preflight, turned away.")
]
Limit = Annotated[int, typer.Option(min=0, help="How many records --check shows at most; 0 for all.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(dataset: Name = None, check: Check = None, limit: Limit = 20, as_json: Json = False):
    """Account for every raw record of a dataset: train, eval, not sampled, or rejected by which check."""
    from validators.params import get_section, read_params_yaml
    from validators.problems import Problem, Problems, did_you_mean

    params = read_params_yaml()
    known, steps = get_section(params, "datasets"), get_section(params, "steps")
    if dataset and dataset not in known:
        where = f"tilth ledger {ascii(dataset)[1:-1]}"
        raise Problems(
            [Problem(where, f"no dataset {dataset!r}", "a name under datasets", did_you_mean(dataset, known))]
        )
    from commands.builds.build import with_defaults
    from commands.records.account import account

    names = [dataset] if dataset else list(known)
    if check:
        show_rejected(names, steps, check, limit, as_json)
        return
    rules = with_defaults(params).get("difficulty") or {}
    accounts = [account(name, steps_trained_on(name, steps), rules.get(name)) for name in names]
    if as_json:
        import json

        print(json.dumps(accounts, indent=2))
    else:
        for item in accounts:
            show(item)
    faults = [
        Problem(f"datasets.{item['dataset']}", fault, "", rerun_hint(item))
        for item in accounts
        for fault in item["faults"]
    ]
    if faults:
        raise Problems(faults)


def steps_trained_on(name, steps):
    """The steps that train on a dataset. steps: as params.yaml has them."""
    return [step for step, given in steps.items() if isinstance(given, dict) and given.get("dataset") == name]


def rerun_hint(item):
    return f"a stage ran without the next: dvc repro curate@{item['dataset']}"


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
    for stage, what, count in table_lines(item):
        view.add_row(Text(stage), Text(what), Text(count))
    # in a narrow terminal a line may wrap, but no number may be left out
    Console(highlight=False, markup=False, emoji=False, width=max(Console().width, 72)).print(view)
    print(balance(item))


def balance(item):
    """The account in one line."""
    from commands.records.account import is_built

    if item["faults"] or not is_built(item):
        return "does not add up" if item["faults"] else f"not built to the end: dvc repro curate@{item['dataset']}"
    out = [sum(item["rejected"][stage].values()) for stage in ("validate", "curate")]
    asked = f"{item['not_sampled']:,} not sampled + " if item["not_sampled"] else ""
    parts = f"{out[0]:,} + {out[1]:,} rejected + {asked}{item['train']:,} train + {item['eval']:,} eval"
    return f"{item['rows']:,} rows = {parts}: all accounted for"


def table_lines(item):
    """(stage, what, count) for each line of the table."""
    from stages.core.outcomes import NOT_SAMPLED
    from stages.rows.tables import safe_text

    lines, stage = [("ingest", "raw records", f"{item['records']:,}")], "ingest"
    for stage, counts in item["rejected"].items():
        if stage != "ingest":
            lines.append((stage, "" if counts else "nothing rejected" if counts is not None else "not built yet", ""))
        for check, count in (counts or {}).items():
            lines.append(("", f"rejected by {safe_text(check)}", f"-{count:,}"))
        if stage == "ingest":
            lines.append(("", "rows made of the others", f"{item['rows']:,}"))
    if item["not_sampled"]:
        lines.append(("", f"not sampled by {NOT_SAMPLED}", f"-{item['not_sampled']:,}"))
    left = {
        "train": [(f"left out of step {step} by", proofs) for step, proofs in item["not_trained"].items()],
        "eval": [("not scored by", item["not_scored"])],
    }
    for side in ("train", "eval"):
        lines.append((side, "" if item[side] is not None else "not built yet", f"{item[side] or 0:,}"))
        for what, proofs in left[side] if item[side] else ():
            if proofs is None:
                lines.append(("", f"{what} preflight: not built yet", ""))
            lines += [("", f"{what} {safe_text(proof)}", f"-{count:,}") for proof, count in (proofs or {}).items()]
        lines += kept_lines(item["kept"]) if side == "train" and item["kept"] and item["train"] else []
    return lines


def kept_lines(found):
    """(stage, what, count) of what `difficulty` keeps of train. found: see `account.kept_of`."""
    from stages.rows.tables import safe_text

    rule = found["rule"]
    low, high = rule["keep"]
    what = f"{rule['from']} right in {low:.0%} to {high:.0%} of {rule['samples']} samples"
    if found["kept"] is None:
        return [("keep", f"{what}: not built yet", "")]
    out = [("", f"not trained on by {safe_text(check)}", f"-{count:,}") for check, count in found["not_kept"].items()]
    return [("keep", what, f"{found['kept']:,}"), *out]


def show_rejected(names, steps, check, limit, as_json):
    """Print the records that a check or a proof turned away."""
    rejects = [row for name in names for row in [*rejects_of(name), *left_out_rows(name, steps)]]
    rows = [row for row in rejects if row["check"] == check]
    if not rows:
        report_no_rejects(check, {row["check"] for row in rejects}, names)
    elif as_json:
        import json

        print(json.dumps(rows, indent=2))
    else:
        from stages.rows.tables import safe_text

        for row in rows[: limit or None]:
            print(f"{safe_text(row['source'])}:{row['line']}: {safe_text(row['detail'] or '', 200)}")
            print(f"    {safe_text(row['raw'] or row['stage'], 200)}")
        if limit and len(rows) > limit:
            print(f"{len(rows) - limit:,} more: --limit 0 shows all {len(rows):,}")


def report_no_rejects(check, seen, names):
    """Say that a check turned nothing away. Raises Problems where there is no such check."""
    from stages.rows.checks import every_check
    from stages.training.left_out_rows import PROOFS
    from validators.problems import Problem, Problems, did_you_mean

    known = {*every_check(), *PROOFS, *seen}
    if check not in known:
        hint = did_you_mean(check, known)
        hint = (
            hint if hint.startswith("did") else "docs/checks.md lists them; without --check, those that found something"
        )
        raise Problems([Problem("tilth ledger --check", f"no check {check!r}", "a name of docs/checks.md", hint)])
    print(f"{check} turned away no record of {', '.join(names)}")


def left_out_rows(name, steps):
    """What preflight and `keep` leave out of a dataset, with the keys of rejects: the rows themselves are in train or eval."""
    from commands.records.account import read_columns
    from stages.training.kept_prompts import kept_path
    from stages.training.left_out_rows import left_out_of_dataset

    for what, rows in left_out_of_dataset(name, {step: steps[step] for step in steps_trained_on(name, steps)}):
        for row in rows:
            source, _, line = row["row"].rpartition(":")
            found = {"source": source, "line": int(line), "stage": f"preflight: {what}", "check": row["proof"]}
            yield found | {"detail": row["reason"], "raw": None}
    rows = read_columns(kept_path(name), ["source", "line", "check", "detail"])
    for row in rows.to_pylist() if rows is not None else ():
        if row["check"]:
            yield row | {"stage": "keep", "raw": None}


def rejects_of(name):
    """Every reject of a dataset so far, as dicts."""
    from commands.records.account import read_columns, read_ingested

    columns = ["source", "line", "stage", "check", "detail", "raw"]
    everything = read_columns(f"data/rejected/{name}.parquet", columns)
    if everything is not None:
        return everything.to_pylist()
    read_ingested(name)
    found = [
        read_columns(path, columns)
        for path in (f"data/ingested/{name}/rejects.parquet", f"data/validated/{name}.parquet")
    ]
    return [row for rejects in found if rejects is not None for row in rejects.to_pylist()]
