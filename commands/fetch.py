"""`tilth fetch`: bring what the workspace needs and every shared variant into the cache, each object checked.

a remote of DVC -> .dvc/cache/files, .dvc/cache/runs. In the working tree it only puts missing data of .dvc files in place,
which `dvc repro` does not build; `dvc repro` restores everything else from the cache.
"""

from commands.share import DryRun, Json, Remote, transfer_variants


def main(remote: Remote = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Bring the workspace's outputs and every shared variant into the cache, and put missing data of .dvc files in place."""
    transfer_variants("fetch", remote, dry_run, as_json=as_json)
    if not dry_run and not as_json:
        print("next: dvc repro restores what params.yaml says, of this variant or another")
