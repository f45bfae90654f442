"""Mends what `dvc` has left in files so that nothing starts any more.

.dvc/tmp/rwlock   who uses which file now; half written      removed
dvc.lock          what was built from what; half written     as last committed, or removed
params.yaml       `*kto` where `kto: &kto` has lost its name  the name put back

Nothing is built anew for it: what the lock lacks, DVC restores from its run cache. A DVC that is killed writes half of the first
two, as it writes neither in one rename; `dvc exp run -S` writes params.yaml without the names of methods that no step takes.
"""

import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

from validators.conflicts import conflict_problems

LOCKS = (".dvc/tmp/lock", ".dvc/tmp/rwlock.lock")


def repair(root: Path = Path()) -> list[str]:
    """What was mended, in words; nothing of DVC's own files while a dvc runs."""
    return restore_anchors(root / "params.yaml") + repair_dvc_files(root)


def restore_anchors(path: Path) -> list[str]:
    """Put back the names that aliases in params.yaml miss, where a method is called so; what was mended, in words."""
    from ruamel.yaml import YAML
    from ruamel.yaml.composer import ComposerError
    from ruamel.yaml.error import YAMLError

    mended = []
    while path.is_file():
        text = path.read_bytes().decode(errors="surrogateescape")
        try:
            YAML(typ="safe", pure=True).load(text)
            break
        except ComposerError as error:
            missed = re.search(r"undefined alias '?([a-z][a-z0-9_]*)", str(error))
        except (YAMLError, ValueError):
            break
        before, methods, after = text.partition("\nmethods:")
        if not missed:
            break
        named = re.sub(rf"(?m)^( +{missed[1]}:)(?= *[^ &*]|$)", rf"\1 &{missed[1]}", after, count=1)
        if named == after:
            break
        path.write_bytes((before + methods + named).encode(errors="surrogateescape"))
        mended.append(
            f"{path.name}: methods.{missed[1]} had lost its name, as `dvc exp` drops those that no step takes: put back"
        )
    return mended


def repair_dvc_files(root: Path) -> list[str]:
    """The files of DVC that were mended, in words; nothing while a dvc runs, whose files these are."""
    import zc.lockfile

    broken = [
        path
        for path, whole in (("dvc.lock", is_whole_lock), (".dvc/tmp/rwlock", is_whole_json))
        # with marks of a merge it is no work of a killed dvc, and HEAD has one side of it alone
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
    """Put a file back as git has it, else remove it; says which."""
    committed = subprocess.run(["git", "show", f"HEAD:./{path}"], cwd=root, capture_output=True)
    if committed.returncode == 0 and committed.stdout:
        (root / path).write_bytes(committed.stdout)
        return "put back as last committed"
    (root / path).unlink()
    return "removed"


def is_whole_json(path: Path) -> bool:
    """True where a file is JSON, or not there."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def is_whole_lock(path: Path) -> bool:
    """True where a dvc.lock ends with a line and has what each of its stages needs, or is not there."""
    from commands.builds.lock import is_well_formed, parse_yaml

    try:
        text = path.read_text(encoding="utf-8")
        stages = parse_yaml(text)["stages"].values()
        return text.endswith("\n") and all(is_well_formed(stage) and stage.get("cmd") for stage in stages)
    except FileNotFoundError:
        return True
    except (KeyError, TypeError, AttributeError, ValueError):
        return False
