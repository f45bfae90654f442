"""`tilth fetch`: bring what the workspace needs and every shared variant into the cache, each object checked.

a remote of DVC -> .dvc/cache/files, .dvc/cache/runs. The working tree stays as it is: `dvc repro` restores from the cache.
"""

from commands.share import DryRun, Remote, carry


def main(remote: Remote = None, dry_run: DryRun = False):
    """Bring the workspace's outputs and every shared variant into the cache."""
    carry("fetch", remote, dry_run)
    if not dry_run:
        print("next: dvc repro restores what params.yaml says, of this variant or another")
