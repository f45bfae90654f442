"""The tests that Tilth comes with pass in a repository whose params and data are its user's; they read neither."""

import os
import subprocess
import sys

import pytest
from own import own_project

pytestmark = pytest.mark.long


def outcome(folder, marks, *arguments):
    """pytest's exit code and what it says at last, in a repository of somebody's."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TILTH"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--disable-warnings",
        "--tb=short",  # what failed is to be read here, in the last lines
        "--show-capture=no",
        "-p",
        "no:cacheprovider",
        "-m",
        marks,
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("checked", [False, True], ids=["params just replaced", "params checked"])
def test_the_quick_tests_pass_with_a_users_params_and_data(tmp_path, checked):
    project = own_project(tmp_path / "mine")
    if checked:
        project.run("python", "-m", "commands", "check")
        project.run("python", "-m", "stages", "check")
        project.commit()
    code, said = outcome(project.folder, "not slow and not long")
    assert code == 0, said


@pytest.mark.timeout(4 * 3600)
def test_the_slow_tests_pass_with_a_users_params_and_data(tmp_path):
    code, said = outcome(own_project(tmp_path / "mine").folder, "slow and not long")
    assert code == 0, said
