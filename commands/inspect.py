"""`tilth inspect`: what a raw file or folder is, and what it can become, before anything is built.

Reads a sample with the readers, shapes and checks of the build itself, so its answer is what a build will do.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from commands.inspection.conversion import Conversion
    from commands.inspection.sample import Sample

Raw = Annotated[str, typer.Argument(metavar="PATH", help="A raw file, or a folder of raw files.")]
Columns = Annotated[
    str | None, typer.Option(help="`columns:` of the dataset, such as 'prompt: question, completion: answer'.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(context: typer.Context, path: Raw, columns: Columns = None, as_json: Json = False) -> None:
    """Show what a raw file or folder is and can become, with its `datasets:` entry, before anything is built."""
    from commands.inspection.conversion import best_kind, join_context
    from commands.inspection.datasets_entry import datasets_entry
    from commands.inspection.sample import options_for, read_sample, resolve_path
    from commands.inspection.sample_report import report_lines
    from stages.rows.tables import safe_text

    raw = resolve_path(path, context.obj)
    sample = read_sample(raw, options_for(raw, columns))
    if as_json:
        print_json(raw, sample, *best_kind(sample))
        return
    for file in sample["files"]:
        print(f"{safe_text(file['path'], 200)}: {file['what']}")
        for line in (file["shapes"] or file["fault"]).splitlines():
            print(f"  {safe_text(line, 400)}")
    kind, conversion = best_kind(sample)
    for line in report_lines(sample, kind, conversion):
        print(line)
    named = f" --columns {shlex.quote(columns)}" if columns else ""
    print(
        f"tilth recommend {safe_text(shlex.quote(path) + named, 400)} names the method that fits, with `datasets:` and `steps:` for params.yaml\n"
    )
    for line in datasets_entry(raw, kind, join_context(sample, kind, conversion)[1]).splitlines():
        print(safe_text(line, 2000))


def print_json(raw: Path, sample: "Sample", kind: str, conversion: "Conversion") -> None:
    import json

    from commands.inspection.conversion import FIRST_PROBLEMS, join_context
    from commands.inspection.datasets_entry import datasets_entry

    account, rejects = conversion["account"], conversion["rejects"]
    facts = {
        "files": sample["files"],
        "records": len(sample["records"]),
        "whole": sample["whole"],
        "can_become": dict(sample["kinds"]),
        "kind": kind,
        "rows": conversion["valid"],
        "rejected": len(rejects),
        "rejects": [
            {key: reject[key] for key in ("source", "line", "check", "detail")} for reject in rejects[:FIRST_PROBLEMS]
        ],
        "stops": conversion["stops"] + [f"key {key!r} is in no row" for key in sorted(account.lost)],
        "unused_keys": dict(account.unused),
        "warnings": conversion["warnings"],
        "ground_truth_pattern": conversion["pattern"],
        "entry": datasets_entry(raw, kind, join_context(sample, kind, conversion)[1]),
    }
    print(json.dumps(facts, indent=2))
