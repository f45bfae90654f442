"""The folder .dvc-state/, where DVC keeps what it knows of files, closed to other users.

DVC keeps pickles there, so everybody who can write to it can run code as its owner. `.dvc/config` names the folder.
DVC makes folders in it with mode 0777; so the folder around them is closed.
"""

import os
from pathlib import Path

from validators.problems import Problem, Problems

STATE_FOLDER = Path(".dvc-state")
OWNER_ALONE = 0o700


def close_state_folder(folder: Path = STATE_FOLDER) -> None:
    """Give the folder's owner alone access. Raises Problems where another user wrote to it while it was open."""
    if os.name != "posix" or not folder.is_dir():
        return
    about = folder.stat()
    if about.st_uid != os.getuid() or not about.st_mode & 0o077:
        return  # only its owner can close another user's folder; DVC cannot write there
    folder.chmod(OWNER_ALONE)
    foreign = [path for path in folder.rglob("*") if path.lstat().st_uid != about.st_uid]
    if about.st_mode & 0o022 and foreign:
        found = f"{foreign[0]} belongs to another user, and the folder was open to them"
        hint = f"rm -r {folder}/repo; dvc makes it again"
        raise Problems([Problem(str(folder), found, "only files that your own dvc wrote", hint)])
