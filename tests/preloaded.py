"""Commands of the tests without their imports: a process that has imported the libraries forks for each command.

A test starts dozens of `dvc` and `python -m stages`, and each of them spends 1 to 10 s on the same imports.

    run(["dvc", "repro"]) -> programs/dvc -> preloaded_client.py -> preloaded_server.py -> fork -> what `dvc repro` does
        -> sh -c "python -m stages train sft" -> programs/python -> ... -> fork -> what that does

All runs as it would: real DVC, and the project's code as it is in the command's folder. Two servers, since a child of a
small process starts and ends faster: `light` has imported DVC and Arrow, `heavy` torch and TRL too. They belong to one
worker of pytest-xdist and end with it. `TILTH_PRELOADED=0 pytest` is without them: each command an interpreter of its own.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PYTHON_BIN = Path(sys.executable).parent
SOCKETS = "TILTH_PRELOADED_SOCKETS"  # the folder in which the client finds the servers
MODULES = ("stages", "commands")  # of `python -m`; all else of Python has an interpreter of its own
# of those modules, what imports torch; another one would only start later
HEAVY = ("base", "preflight", "train", "evaluate", "evaluate_base", "chat", "export", "serve")
STARTING = threading.Lock()
VARIABLES = {}  # of pytest as it starts, by conftest.py: a test or a fixture that has changed some may be the first to need a server


def run(command, *, env=None, real=False, **options):
    """subprocess.run with this Python's programs first on the path, and no call of any hub.

    real: an interpreter for each process, for tests that kill, count or measure processes.
    """
    variables = environment(env, real)
    if variables.get(SOCKETS):
        command = ["python" if word == sys.executable else word for word in command]
    return subprocess.run(command, env=variables, **options)


def environment(variables=None, real=False):
    """The variables (os.environ where None) of a command that is served, and with it all that it starts."""
    path = [str(PYTHON_BIN), (os.environ if variables is None else variables)["PATH"]]
    made = {"HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"} | dict(os.environ if variables is None else variables)
    if not real and usable():
        with STARTING:
            folder, _ = servers()
        path.insert(0, str(folder / "programs"))
        made[SOCKETS] = str(folder)
    return made | {"PATH": os.pathsep.join(path)}


def usable():
    """False on a GPU too: an import may make a context there, which no child of a fork can use."""
    return sys.platform == "linux" and os.environ.get("TILTH_PRELOADED") != "0" and not Path("/dev/nvidiactl").exists()


@cache
def servers():
    """(folder, process) of this worker's servers. Their stdin is a pipe that ends with this process, and so do they."""
    folder = Path(tempfile.mkdtemp(prefix="tilth-"))  # pytest's own folder may be too long for the name of a socket
    write_programs(folder / "programs")
    variables = {name: value for name, value in (VARIABLES or os.environ).items() if name != "PYTHONPATH"}
    command = [sys.executable, str(HERE / "preloaded_server.py"), str(folder)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            env=variables | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    if not process.stdout.readline():
        raise RuntimeError(f"preloaded_server.py did not start:\n{(folder / 'log').read_text(encoding='utf-8')}")
    return folder, process


def write_programs(folder):
    """`python` and `dvc` as scripts of a shell: what is not served starts hardly later than without them."""
    python, dvc = shlex.quote(sys.executable), shlex.quote(str(PYTHON_BIN / "dvc"))
    client = f"exec {python} -I -S {shlex.quote(str(HERE / 'preloaded_client.py'))}"
    modules = "|".join(f'"-m {name}"' for name in MODULES)
    programs = {
        "python": f'case "$1 $2" in {modules}) ;; *) exec {python} "$@" ;; esac\n'
        f'case "$3" in {"|".join(HEAVY)}) {client} heavy {python} "$@" ;; esac\n'
        f'{client} light {python} "$@"\n',
        "dvc": f'{client} light {dvc} "$@"\n',
    }
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        (folder / name).chmod(0o755)
