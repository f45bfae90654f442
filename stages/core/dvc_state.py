"""What DVC remembers of files lies in .dvc-state/, and is pickles: whoever can write there has their code run. Its owner alone can.

`.dvc/config` names the folder. DVC makes folders in it with mode 0777, so it is the folder around them that is closed.
"""

import os
from pathlib import Path

from validators.problems import Problem, Problems

STATE_FOLDER = Path(".dvc-state")
OWNER_ALONE = 0o700


def close_state_folder(folder: Path = STATE_FOLDER) -> None:
    """Close DVC's state to others. Raises Problems where somebody else has written there while it was open."""
    if os.name != "posix" or not folder.is_dir():
        return
    about = folder.stat()
    if about.st_uid != os.getuid() or not about.st_mode & 0o077:
        return  # a folder of somebody else's is theirs to close, and DVC cannot write there
    folder.chmod(OWNER_ALONE)
    strangers = [path for path in folder.rglob("*") if path.lstat().st_uid != about.st_uid]
    if about.st_mode & 0o022 and strangers:
        found = f"{strangers[0]} is somebody else's, and the folder was open to them"
        raise Problems(
            [Problem(str(folder), found, "what your own dvc wrote", f"rm -r {folder}/repo; dvc makes it anew")]
        )
