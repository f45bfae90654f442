"""`tilth fetch`: bring what the workspace needs and every shared variant into the cache, each object checked.

a remote of DVC -> .dvc/cache/files, .dvc/cache/runs. Of the working tree, the missing data of .dvc files are put in their
place, as `dvc repro` makes none of them; all else stays as it is, and `dvc repro` restores it from the cache.
"""

from commands.share import DryRun, Json, Remote, transfer_variants


def main(remote: Remote = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Bring the workspace's outputs and every shared variant into the cache, and missing data of .dvc files into their place."""
    transfer_variants("fetch", remote, dry_run, as_json=as_json)
    if not dry_run and not as_json:
        print("next: dvc repro restores what params.yaml says, of this variant or another")
