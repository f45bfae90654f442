"""`tilth share`: send what the workspace needs and every variant that was ever built to the remote, whole.

.dvc/cache/files, .dvc/cache/runs -> a remote of DVC. A colleague's `tilth fetch` then trains nothing, whichever variant they switch to.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from commands.sharing.transfer import Moved

Remote = Annotated[
    str | None, typer.Option("--remote", "-r", help="The name of a remote; DVC's default one without it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would move, and move nothing.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="FILE", help="A private key of the team's, to sign run records with; else $TILTH_KEY."
    ),
]
Known = Annotated[
    bool, typer.Option("--sign-known", help="Also sign records that the remote has already, and nobody signed.")
]


def main(
    remote: Remote = None,
    dry_run: DryRun = False,
    key: Key = None,
    sign_known: Known = False,
    context: typer.Context = None,  # ty: ignore[invalid-parameter-default]  # typer gives one, who calls it otherwise need not
) -> None:
    """Send the workspace and every built variant to the remote."""
    from pathlib import Path

    from commands.sharing.signatures import signer

    start = Path((context.obj if context else None) or ".")
    carry("share", remote, dry_run, signer(start / Path(key).expanduser() if key else None), sign_known)


def carry(
    command: str,
    name: str | None,
    dry_run: bool,
    key: "ec.EllipticCurvePrivateKey | None" = None,
    sign_known: bool = False,
) -> None:
    """Plan, move, tell; Problems for what the workspace needs and cannot be had, after all else has moved."""
    from commands.sharing.checkout import missing, put
    from commands.sharing.remotes import opened
    from commands.sharing.transfer import move, planned, sign_records
    from commands.sharing.transfer_text import describe, describe_placed, problems
    from stages.rows.tables import shown
    from validators.problems import Problems

    with opened(name, command) as (repo, remote):
        plan = planned(repo, remote, sending=command == "share")
        moved = None if dry_run else move(plan, repo, remote)
        for line in describe(plan, moved, remote.name, dry_run):
            print(shown(line, 400))
        if moved and command == "share":
            for line in signed_lines(moved, sign_records(moved, plan, repo, remote, key, sign_known), key):
                print(line)
        outs = missing(plan, repo, moved.failed if moved else ()) if command == "fetch" else []
        if not dry_run:
            put(outs)
        for line in describe_placed(outs, dry_run):
            print(shown(line, 400))
        if found := list(problems(plan, moved, remote.name, repo.config)):
            raise Problems(found)


def signed_lines(moved: "Moved", unsigned: int, key: "ec.EllipticCurvePrivateKey | None") -> Iterator[str]:
    """What was signed, and what was not where the team has keys."""
    from commands.statements.keys import trusted

    if key:
        yield f"signed: {moved.signed:,} run {'record' if moved.signed == 1 else 'records'}"
    if unsigned and trusted():
        why = (
            "--sign-known signs them, if you know who built them"
            if key
            else "--key FILE or $TILTH_KEY signs what you built"
        )
        yield f"not signed: {unsigned:,} run {'record' if unsigned == 1 else 'records'}, which no colleague fetches: {why}"
