"""Repair files that `dvc` left broken, so that neither dvc nor a stage can start.

.dvc/tmp/rwlock   who uses which file now; half written        removed
dvc.lock          what was built from what; half written       restored from the last commit, or removed
params.yaml       an alias `*kto` without its anchor `&kto`    the anchor restored

Nothing is built again for it: DVC restores from its run cache what the lock lacks. A killed dvc leaves half of the first two, as
it writes neither in one rename. `dvc exp run -S` drops the anchors of methods that no step uses.
"""

import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

from validators.conflicts import conflict_problems

LOCKS = (".dvc/tmp/lock", ".dvc/tmp/rwlock.lock")


def repair(root: Path = Path()) -> list[str]:
    """Repair all three files and say what was repaired. Leaves DVC's own files alone while a dvc runs."""
    return restore_anchors(root / "params.yaml") + repair_dvc_files(root)


def restore_anchors(path: Path) -> list[str]:
    """Restore the anchors that aliases in params.yaml miss, where a method has that name. Says what was restored."""
    from ruamel.yaml import YAML
    from ruamel.yaml.composer import ComposerError
    from ruamel.yaml.error import YAMLError

    repairs = []
    while path.is_file():
        text = path.read_bytes().decode(errors="surrogateescape")
        try:
            YAML(typ="safe", pure=True).load(text)
            break
        except ComposerError as error:
            missing = re.search(r"undefined alias '?([a-z][a-z0-9_]*)", str(error))
        except (YAMLError, ValueError):
            break
        before, methods, after = text.partition("\nmethods:")
        if not missing:
            break
        anchored = re.sub(rf"(?m)^( +{missing[1]}:)(?= *[^ &*]|$)", rf"\1 &{missing[1]}", after, count=1)
        if anchored == after:
            break
        path.write_bytes((before + methods + anchored).encode(errors="surrogateescape"))
        repairs.append(
            f"{path.name}: methods.{missing[1]} had lost its anchor, as `dvc exp` drops those that no step uses: restored"
        )
    return repairs


def repair_dvc_files(root: Path) -> list[str]:
    """Repair the files that DVC writes and say which. Does nothing while a dvc runs: they are in use."""
    import zc.lockfile

    broken = [
        path
        for path, whole in (("dvc.lock", is_whole_lock), (".dvc/tmp/rwlock", is_whole_json))
        # conflict marks come from a merge, not from a killed dvc, and HEAD has only one side of it
        if not whole(root / path) and not conflict_problems(root / path)
    ]
    if not broken:
        return []
    with ExitStack() as locks:
        try:
            for path in LOCKS:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                locks.callback(zc.lockfile.LockFile(str(root / path)).close)
        except zc.lockfile.LockError:
            return []
        return [f"{path} was half written by a dvc that was killed: {restore_file(root, path)}" for path in broken]


def restore_file(root: Path, path: str) -> str:
    """Restore a file from the last commit, or remove it where git does not have it. Says which."""
    committed = subprocess.run(["git", "show", f"HEAD:./{path}"], cwd=root, capture_output=True)
    if committed.returncode == 0 and committed.stdout:
        (root / path).write_bytes(committed.stdout)
        return "restored from the last commit"
    (root / path).unlink()
    return "removed"


def is_whole_json(path: Path) -> bool:
    """True where a file is JSON or missing."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def is_whole_lock(path: Path) -> bool:
    """True where a dvc.lock ends with a line end and each of its stages is complete, or it is missing."""
    from commands.builds.lock import is_well_formed, parse_yaml

    try:
        text = path.read_text(encoding="utf-8")
        stages = parse_yaml(text)["stages"].values()
        return text.endswith("\n") and all(is_well_formed(stage) and stage.get("cmd") for stage in stages)
    except FileNotFoundError:
        return True
    except (KeyError, TypeError, AttributeError, ValueError):
        return False
