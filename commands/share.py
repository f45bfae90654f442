"""`tilth share`: send what the workspace needs and every variant that was ever built to the remote, whole.

.dvc/cache/files, .dvc/cache/runs -> a remote of DVC. A colleague's `tilth fetch` then trains nothing, whichever variant they switch to.
"""

from typing import Annotated

import typer

Remote = Annotated[
    str | None, typer.Option("--remote", "-r", help="The name of a remote; DVC's default one without it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would move, and move nothing.")]


def main(remote: Remote = None, dry_run: DryRun = False):
    """Send the workspace and every built variant to the remote."""
    carry("share", remote, dry_run)


def carry(command, name, dry_run):
    """Plan, move, tell; Problems for what the workspace needs and cannot be had, after all else has moved."""
    from commands.sharing.checkout import missing, put
    from commands.sharing.remotes import opened
    from commands.sharing.transfer import move, planned
    from commands.sharing.transfer_text import describe, describe_placed, problems
    from stages.rows.tables import shown
    from validators.problems import Problems

    with opened(name, command) as (repo, remote):
        plan = planned(repo, remote, sending=command == "share")
        moved = None if dry_run else move(plan, repo, remote)
        for line in describe(plan, moved, remote.name, dry_run):
            print(shown(line, 400))
        outs = missing(plan, repo, moved.failed if moved else ()) if command == "fetch" else []
        if not dry_run:
            put(outs)
        for line in describe_placed(outs, dry_run):
            print(shown(line, 400))
        if found := list(problems(plan, moved, remote.name, repo.config)):
            raise Problems(found)
