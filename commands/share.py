"""`tilth share`: send what the workspace needs, and every variant that was ever built, to the remote.

.dvc/cache/files, .dvc/cache/runs -> a remote of DVC. After `tilth fetch`, a colleague trains nothing, whichever variant they switch to.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from commands.builds.dvc import Output
    from commands.sharing.transfer import Plan, TransferResult

Remote = Annotated[
    str | None, typer.Option("--remote", "-r", help="The name of a remote; DVC's default remote if left out.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be transferred, and transfer nothing.")]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="FILE", help="A private key of the team, to sign run records with; else $TILTH_KEY."),
]
SignKnown = Annotated[
    bool, typer.Option("--sign-known", help="Also sign records that the remote already has without a signature.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(
    remote: Remote = None,
    dry_run: DryRun = False,
    key: Key = None,
    sign_known: SignKnown = False,
    as_json: Json = False,
    context: typer.Context = None,  # ty: ignore[invalid-parameter-default]  # typer passes it; other callers need not
) -> None:
    """Send the workspace and every built variant to the remote."""
    from pathlib import Path

    from commands.sharing.signatures import signing_key

    start = Path((context.obj if context else None) or ".")
    transfer_variants(
        "share", remote, dry_run, signing_key(start / Path(key).expanduser() if key else None), sign_known, as_json
    )


def transfer_variants(
    command: str,
    name: str | None,
    dry_run: bool,
    key: "ec.EllipticCurvePrivateKey | None" = None,
    sign_known: bool = False,
    as_json: bool = False,
) -> None:
    """Plan the transfer, do it and report it. After that, raises Problems if something that the workspace needs is missing."""
    from commands.sharing.checkout import missing_outputs, place_outputs
    from commands.sharing.remotes import open_remote
    from commands.sharing.transfer import make_plan, move, sign_records
    from commands.sharing.transfer_text import describe_checkout, describe_transfer, transfer_problems
    from stages.rows.tables import safe_text
    from validators.problems import Problems

    with open_remote(name, command) as (repo, remote):
        plan = make_plan(repo, remote, sending=command == "share")
        moved = None if dry_run else move(plan, repo, remote)
        for line in () if as_json else describe_transfer(plan, moved, remote.name, dry_run):
            print(safe_text(line, 400))
        sharing = moved and command == "share"
        unsigned = sign_records(moved, plan, repo, remote, key, sign_known) if sharing else 0
        for line in signature_lines(moved, unsigned, key) if sharing and not as_json else ():
            print(line)
        outs = missing_outputs(plan, repo, moved.failed if moved else ()) if command == "fetch" else []
        if not dry_run:
            place_outputs(outs)
        if as_json:
            print_json(plan, moved, remote.name, unsigned, outs)
        for line in () if as_json else describe_checkout(outs, dry_run):
            print(safe_text(line, 400))
        if found := list(transfer_problems(plan, moved, remote.name, repo.config)):
            raise Problems(found)


def print_json(plan: "Plan", moved: "TransferResult | None", name: str, unsigned: int, outs: "list[Output]") -> None:
    """Print what was or would be transferred. bytes: in a dry run of the outputs alone, without folder lists and run records."""
    import json

    from commands.sharing.transfer_text import describe_lost_objects, size_to_move

    facts = {
        "remote": name,
        "moved": moved is not None,
        "objects": len(moved.objects if moved else plan.objects_to_move()),
        "bytes": moved.size if moved else size_to_move(plan),
        "run_records": moved.records if moved else len(plan.new_records()),
        "objects_there": len(plan.there),
        "left_alone": [{"path": path, "why": why} for path, why in plan.left],
        "not_whole": [
            {"name": one.name, "why": describe_lost_objects(plan, one)}
            for one in plan.all_bundles()
            if not plan.is_whole(one)
        ],
        "signed": moved.signed if moved else 0,
        "not_signed": unsigned,
        "checked_out": [str(out) for out in outs],
    }
    print(json.dumps(facts, indent=2))


def signature_lines(moved: "TransferResult", unsigned: int, key: "ec.EllipticCurvePrivateKey | None") -> Iterator[str]:
    """Lines on what was signed and, if the team has keys, on what was not."""
    from commands.statements.keys import trusted_keys

    if key:
        yield f"signed: {moved.signed:,} run {'record' if moved.signed == 1 else 'records'}"
    if unsigned and trusted_keys():
        why = (
            "--sign-known signs them, if you know who built them"
            if key
            else "--key FILE or $TILTH_KEY signs what you built"
        )
        yield f"not signed: {unsigned:,} run {'record' if unsigned == 1 else 'records'}, which no colleague fetches: {why}"
