"""`tilth ledger`: the whole account of a dataset, from raw records to train and eval, by stage and reason.

data/ingested/<d>/, data/validated/<d>.parquet, data/train/, data/eval/, data/rejected/, preflight/
    -> a table; exits with 1 if it does not add up
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from commands.records.account import Account

Name = Annotated[str | None, typer.Argument(help="A name under `datasets` of params.yaml; all of them if left out.")]
Check = Annotated[str | None, typer.Option(help="Show the records that this check, or a proof of preflight, rejected.")]
Limit = Annotated[int, typer.Option(min=0, help="How many records --check shows at most; 0 for all.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
Line = tuple[str, str, str]  # stage, what, count
Reject = dict[str, Any]  # {"source", "line", "stage", "check", "detail", "raw"}


def main(dataset: Name = None, check: Check = None, limit: Limit = 20, as_json: Json = False) -> None:
    """Account for every raw record of a dataset: in train, in eval, not sampled, or rejected by which check."""
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


def steps_trained_on(name: str, steps: Mapping[str, Any]) -> list[str]:
    """The steps that train on a dataset. steps: as in params.yaml, not validated."""
    return [step for step, entry in steps.items() if isinstance(entry, dict) and entry.get("dataset") == name]


def rerun_hint(item: "Account") -> str:
    return f"a stage ran without the next: dvc repro curate@{item['dataset']}"


# -- shown --------------------------------------------------------------------------------------------------------


def show(item: "Account") -> None:
    """Print an account as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{item['dataset']}"), title_justify="left", box=box.SIMPLE)
    table.add_column("stage")
    table.add_column("what", no_wrap=True)
    table.add_column("rows", justify="right")
    for stage, what, count in table_lines(item):
        table.add_row(Text(stage), Text(what), Text(count))
    # in a narrow terminal a line may wrap, but no number may be left out
    Console(highlight=False, markup=False, emoji=False, width=max(Console().width, 72)).print(table)
    print(balance(item))


def balance(item: "Account") -> str:
    """The account in one line."""
    from commands.records.account import is_built

    if item["faults"] or not is_built(item):
        return "does not add up" if item["faults"] else f"not built to the end: dvc repro curate@{item['dataset']}"
    rejected = [sum((item["rejected"][stage] or {}).values()) for stage in ("validate", "curate")]
    not_sampled = f"{item['not_sampled']:,} not sampled + " if item["not_sampled"] else ""
    parts = f"{rejected[0]:,} rejected by validate + {rejected[1]:,} by curate + {not_sampled}{item['train']:,} train + {item['eval']:,} eval"
    return f"{item['rows']:,} rows = {parts}: all accounted for"


def table_lines(item: "Account") -> list[Line]:
    """(stage, what, count) for each line of the table."""
    from stages.core.outcomes import NOT_SAMPLED
    from stages.rows.tables import safe_text

    lines = [("ingest", "raw records", f"{item['records']:,}")]
    for stage, counts in item["rejected"].items():
        if stage != "ingest":
            lines.append((stage, "" if counts else "nothing rejected" if counts is not None else "not built yet", ""))
        for check, count in (counts or {}).items():
            lines.append(("", f"rejected by {safe_text(check)}", f"-{count:,}"))
        if stage == "ingest":
            lines.append(("", "rows of the other records" if counts else "rows", f"{item['rows']:,}"))
    if item["not_sampled"]:
        lines.append(("", f"not sampled by {NOT_SAMPLED}", f"-{item['not_sampled']:,}"))
    left_out = {
        "train": [(f"left out of step {step} by", proofs) for step, proofs in item["not_trained"].items()],
        "eval": [("not scored by", item["not_scored"])],
    }
    for side in ("train", "eval"):
        lines.append((side, "" if item[side] is not None else "not built yet", f"{item[side] or 0:,}"))
        for what, proofs in left_out[side] if item[side] else ():
            if proofs is None:
                lines.append(("", f"{what} preflight: not built yet", ""))
            lines += [("", f"{what} {safe_text(proof)}", f"-{count:,}") for proof, count in (proofs or {}).items()]
        lines += kept_lines(item["kept"]) if side == "train" and item["kept"] and item["train"] else []
    return lines


def kept_lines(found: Mapping[str, Any]) -> list[Line]:
    """(stage, what, count) of the train prompts that `difficulty` keeps. found: see `account.count_kept`."""
    from stages.rows.tables import safe_text

    rule = found["rule"]
    low, high = rule["keep"]
    what = f"{rule['from']} right in {low:.0%} to {high:.0%} of {rule['samples']} samples"
    if found["kept"] is None:
        return [("keep", f"{what}: not built yet", "")]
    rejected = [
        ("", f"not trained on by {safe_text(check)}", f"-{count:,}") for check, count in found["not_kept"].items()
    ]
    return [("keep", what, f"{found['kept']:,}"), *rejected]


def show_rejected(names: Sequence[str], steps: Mapping[str, Any], check: str, limit: int, as_json: bool) -> None:
    """Print the records that a check or a proof rejected. limit: 0 for all."""
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


def report_no_rejects(check: str, checks: Collection[str], names: Sequence[str]) -> None:
    """Print that a check rejected nothing. Raises Problems if it is unknown. checks: of the rejects that are there."""
    from stages.rows.checks import every_check
    from stages.training.left_out_rows import PROOFS
    from validators.problems import Problem, Problems, did_you_mean

    known = {*every_check(), *PROOFS, *checks}
    if check not in known:
        hint = did_you_mean(check, known)
        hint = (
            hint
            if hint.startswith("did")
            else "docs/checks.md lists all; without --check, you see those that rejected something"
        )
        raise Problems([Problem("tilth ledger --check", f"no check {check!r}", "a name of docs/checks.md", hint)])
    print(f"{check} rejected no record of {', '.join(names)}")


def left_out_rows(name: str, steps: Mapping[str, Any]) -> Iterator[Reject]:
    """The rows that preflight and `keep` leave out of a dataset, as rejects; they are still in train or eval."""
    from commands.records.account import read_columns
    from stages.training.kept_prompts import kept_path
    from stages.training.left_out_rows import left_out_of_dataset

    for what, rows in left_out_of_dataset(name, {step: steps[step] for step in steps_trained_on(name, steps)}):
        for row in rows:
            source, _, line = row["row"].rpartition(":")
            reject = {"source": source, "line": int(line), "stage": f"preflight: {what}", "check": row["proof"]}
            yield reject | {"detail": row["reason"], "raw": None}
    rows = read_columns(kept_path(name), ["source", "line", "check", "detail"])
    for row in rows.to_pylist() if rows is not None else ():
        if row["check"]:
            yield row | {"stage": "keep", "raw": None}


def rejects_of(name: str) -> list[Reject]:
    """Every reject of a dataset, as far as its stages have run."""
    from commands.records.account import read_columns, read_ingested

    columns = ["source", "line", "stage", "check", "detail", "raw"]
    rejected = read_columns(f"data/rejected/{name}.parquet", columns)
    if rejected is not None:
        return rejected.to_pylist()
    read_ingested(name)
    tables = [
        read_columns(path, columns)
        for path in (f"data/ingested/{name}/rejects.parquet", f"data/validated/{name}.parquet")
    ]
    return [row for table in tables if table is not None for row in table.to_pylist()]
