"""DVC's state, which is pickles, lies in the project, and nobody but its owner can write there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builds import DVC_CONFIG

from stages.core.dvc_state import STATE_FOLDER, close_state_folder
from validators.problems import Problems

ROOT = Path(__file__).parents[1]


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [0o777, 0o755, 0o775, 0o700])
def test_the_folder_is_closed_to_others(tmp_path, before):
    (tmp_path / "state/repo").mkdir(parents=True)
    (tmp_path / "state").chmod(before)
    close_state_folder(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


def test_without_a_folder_there_is_none_to_close(tmp_path):
    close_state_folder(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_what_a_stranger_wrote_while_it_was_open_is_named(tmp_path, monkeypatch):
    (tmp_path / "state/repo").mkdir(parents=True)
    (tmp_path / "state").chmod(0o777)
    whole = Path.lstat

    class Other:
        st_uid = os.getuid() + 1

    monkeypatch.setattr(Path, "lstat", lambda self: Other() if self.name == "repo" else whole(self))
    with pytest.raises(Problems, match="belongs to another user, and the folder was open to them"):
        close_state_folder(tmp_path / "state")


@pytest.mark.slow
def test_dvc_keeps_its_state_in_a_fresh_clone_and_writes_nowhere_else(tmp_path):
    """As a clone has it: .dvc/config and the folder, with no command of ours before dvc's."""
    project, home = tmp_path / "p", tmp_path / "home"
    home.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", ".dvc", STATE_FOLDER, ".gitignore", ".dvcignore"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        if name != ".dvc/config":  # which may be a user's own
            shutil.copy(ROOT / name, project / name)
    (project / ".dvc/config").write_text(DVC_CONFIG)
    (project / "dvc.yaml").write_text(
        "stages:\n  a:\n    cmd: python -c \"open('out', 'w').write('x')\"\n    outs: [out]\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DVC_SITE_CACHE_DIR"} | {"HOME": str(home)}
    environment |= {"TMPDIR": str(tmp_path / "tmp"), "DVC_NO_ANALYTICS": "1"}
    (tmp_path / "tmp").mkdir()

    def run(*command, cwd=project):
        subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True)

    run("git", "init", "-q")
    run("dvc", "repro")
    (token,) = (project / STATE_FOLDER / "repo").iterdir()
    assert list(token.rglob("cache.db"))
    assert not Path("/var/tmp/dvc/repo", token.name).exists()
    assert not [path for path in home.rglob("*") if path.suffix == ".db"]
    ignored = subprocess.run(
        ["git", "status", "--short", "--untracked-files=all"], cwd=project, capture_output=True, text=True
    ).stdout
    assert "cache.db" not in ignored
    (project / "below").mkdir()
    run("dvc", "status", cwd=project / "below")  # a path in DVC's configuration is relative to where dvc is called
    assert (
        "cache.db"
        not in subprocess.run(["git", "status", "--short", "-uall"], cwd=project, capture_output=True, text=True).stdout
    )
    run(
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from stages.core.dvc_state import close_state_folder; close_state_folder()",
    )
    assert mode(project / STATE_FOLDER) == 0o700
    run("dvc", "status")  # which goes on with the folder as it is
