"""The command line, `tilth COMMAND`: one module per command, which imports what is heavy only when it runs."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from commands import (
    answers,
    chat,
    check,
    diff,
    export,
    fetch,
    forget,
    gate,
    inspect,
    ledger,
    lineage,
    plan,
    preflight,
    prove,
    provenance,
    prune,
    recommend,
    report,
    serve,
    share,
    sign,
    trace,
    verify,
)
from stages.core.dvc_state import close_state_folder
from validators.problems import Problem, Problems

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("answers")(answers.main)
app.command("chat")(chat.main)
app.command("check")(check.main)
app.command("diff")(diff.main)
app.command("export")(export.main)
app.command("fetch")(fetch.main)
app.command("forget")(forget.main)
app.command("gate")(gate.main)
app.command("inspect")(inspect.main)
app.command("ledger")(ledger.main)
app.command("lineage")(lineage.main)
app.command("plan")(plan.main)
app.command("preflight")(preflight.main)
app.command("provenance")(provenance.main)
app.command("prove")(prove.main)
app.command("prune")(prune.main)
app.command("recommend")(recommend.main)
app.command("report")(report.main)
app.command("serve")(serve.main)
app.command("share")(share.main)
app.command("sign")(sign.main)
app.command("trace")(trace.main)
app.command("verify")(verify.main)
WITHOUT_PROJECT = ("inspect", "recommend")  # useful before there is a project


def show_version(wanted: bool) -> None:
    """Print the version and the commit of the code that runs, and exit."""
    import platform
    from importlib.metadata import version

    from commands.builds.git import git

    if wanted:
        head = git("-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD")
        commit = f", commit {head.decode().strip()}" if head else ""
        print(f"tilth {version('tilth')}{commit}, Python {platform.python_version()}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=show_version, is_eager=True, help="Show the version and the commit of the code, and exit."
    ),
]


@app.callback()
def tilth(version: Version = False) -> None:
    """Fine-tuned language models from raw data, built with `dvc repro`."""


def main() -> None:
    try:
        start = Path.cwd()
        os.chdir(project_root())
        close_state_folder()
        app(obj=start)  # paths on the command line are relative to where the user is
    except Problems as error:
        from stages.rows.tables import safe_text

        # a file name or a parser's message may hold control characters
        print("\n".join(safe_text(line, 2000) for line in str(error).splitlines()), file=sys.stderr)
        raise SystemExit(1) from None


def project_root() -> Path:
    """The folder of dvc.yaml: this one or the nearest above it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").exists() or (folder / "params.yaml").exists():
            return folder
    # `tilth verify TARGET` checks an export or a proof where it lies, outside of a project too
    has_target = sys.argv[1:2] == ["verify"] and any(not argument.startswith("-") for argument in sys.argv[2:])
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"  # a shell that completes a line gives no arguments
    if {"--help", "-h"} & set(sys.argv) or command.startswith("-") or command in WITHOUT_PROJECT or has_target:
        return here
    raise Problems([Problem(str(here), "no dvc.yaml here or above", "a clone of the project", "cd into it")])


if __name__ == "__main__":
    main()
