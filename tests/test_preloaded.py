"""A command that a preloaded process runs is the command: status, streams, signals, folder, code and bytes."""

import os
import signal
import subprocess
import sys
import time

import preloaded
import psutil
import pytest
from conftest import small_project
from undisturbed import outputs_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not preloaded.usable(), reason="no preloaded processes: not on Linux, with a GPU or turned off"),
]
MAIN = preloaded.MODULES[0]
BOTH = pytest.mark.parametrize("real", [False, True], ids=["preloaded", "real"])


@pytest.fixture
def program(tmp_path):
    """Run a text as `python -m` of a module that is served."""

    def program(text, *arguments, real=False, **options):
        (tmp_path / MAIN).mkdir(exist_ok=True)
        (tmp_path / MAIN / "__main__.py").write_text(text, encoding="utf-8")
        options = {"cwd": tmp_path, "capture_output": True, "text": True} | options
        return preloaded.run([sys.executable, "-m", MAIN, *arguments], real=real, **options)

    return program


def is_preloaded(program, **options):
    return program("import sys; print('dvc.repo' in sys.modules)", **options).stdout == "True\n"


def test_a_command_is_run_by_a_process_that_knows_its_libraries(program):
    assert is_preloaded(program)
    assert not is_preloaded(program, real=True)


def test_pandas_and_polars_are_not_imported_ahead_nor_is_anything_of_the_project(program):
    text = "import sys; print({'pandas', 'polars', 'torch', 'stages', 'validators', 'commands'} & set(sys.modules))"
    assert program(text).stdout == "{'stages'}\n"  # the package of this program
    assert "torch" in program(text, preloaded.HEAVY[0]).stdout


@BOTH
@pytest.mark.parametrize(
    ("end", "status"),
    [("", 0), ("sys.exit(3)", 3), ("sys.exit('gone')", 1), ("sys.exit(256)", 0), ("os.kill(os.getpid(), 9)", -9),
     ("os.kill(os.getpid(), 15)", -15), ("raise KeyboardInterrupt", -2), ("os._exit(4)", 4), ("1 / 0", 1)],
)  # fmt: skip
def test_the_status_is_the_programs(program, real, end, status):
    assert program(f"import os, sys\n{end}", real=real).returncode == status


def test_a_traceback_is_that_of_an_interpreter(program):
    text = "def inner():\n    1 / 0\n\ninner()"
    served, real = program(text), program(text, real=True)
    assert "ZeroDivisionError" in served.stderr
    assert served.stderr == real.stderr


@BOTH
def test_streams_arguments_folder_and_variables_are_the_callers(program, real, tmp_path):
    text = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: print('last'))\n"
        "print(sys.argv[1:], os.getcwd(), ascii(os.environ['ODD']), sys.stdin.read(), set(os.environ) - {'PWD'})\n"
        "print('said', file=sys.stderr)"
    )
    odd = "\udcff ü\n"
    variables = {"PATH": os.environ["PATH"], "ODD": odd}
    names = set(preloaded.environment(variables, real))
    done = program(text, "a b", "", input="typed", env=variables, real=real)
    first, last = done.stdout.splitlines()
    assert first.startswith(f"['a b', ''] {tmp_path} {odd!a} typed ") and last == "last"
    assert eval(first.split(" typed ")[1]) - {"LC_CTYPE"} == names
    assert done.stderr == "said\n"


def test_code_that_was_edited_is_run_as_it_is(program):
    assert [program(f"print({number})").stdout for number in (1, 22, 3)] == ["1\n", "22\n", "3\n"]


def test_modules_are_taken_from_the_folder_and_then_from_the_import_path(program, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/only_here.py").write_text("WORD = 'here'")
    text = "import sys, only_here; print(only_here.WORD, sys.path[:2])"
    for real in (False, True):
        done = program(text, env=os.environ | {"PYTHONPATH": str(tmp_path / "more")}, real=real)
        assert done.stdout == f"here {[str(tmp_path), str(tmp_path / 'more')]}\n", done.stderr


def test_random_numbers_of_two_commands_differ(program):
    text = "import random, numpy; print(random.random(), numpy.random.rand())"
    assert not set(program(text).stdout.split()) & set(program(text).stdout.split())


@pytest.mark.parametrize("variable", ["PYTHONWARNINGS", "LC_ALL", "TZ", "OMP_NUM_THREADS"])
def test_what_is_read_when_a_process_starts_gets_an_interpreter_of_its_own(program, variable):
    value = {"PYTHONWARNINGS": "ignore", "LC_ALL": "C", "TZ": "UTC+3", "OMP_NUM_THREADS": "7"}[variable]
    assert not is_preloaded(program, env=os.environ | {variable: value})


def test_without_a_server_the_program_itself_runs(program, tmp_path):
    variables = preloaded.environment() | {preloaded.SOCKETS: str(tmp_path)}
    (tmp_path / MAIN).mkdir()
    (tmp_path / MAIN / "__main__.py").write_text("import sys; print('dvc.repo' in sys.modules)")
    done = subprocess.run(["python", "-m", MAIN], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


WAITS = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
pathlib.Path("up.new").write_text(f"{os.getpid()} {child.pid}")
os.rename("up.new", "up")
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.fixture
def waiting(program, tmp_path):
    """(a client whose command waits, the pids of that and of what it has started)."""
    program("")
    (tmp_path / MAIN / "__main__.py").write_text(WAITS)
    client = subprocess.Popen(["python", "-m", MAIN], cwd=tmp_path, env=preloaded.environment())
    until = time.monotonic() + 30
    while not (tmp_path / "up").exists() and time.monotonic() < until:
        time.sleep(0.01)
    pids = [int(pid) for pid in (tmp_path / "up").read_text().split()]
    assert client.pid not in pids
    yield client, pids
    client.kill()
    client.wait()
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def test_signals_are_passed_on_and_decide_how_the_client_ends(waiting):
    client, _ = waiting
    client.send_signal(signal.SIGINT)
    assert client.wait(10) == 7


def test_a_signal_that_ends_the_command_ends_its_client_so(waiting):
    client, _ = waiting
    client.send_signal(signal.SIGTERM)
    assert client.wait(10) == -signal.SIGTERM


def test_the_death_of_a_client_ends_its_command_and_what_that_has_started(waiting):
    client, pids = waiting
    client.kill()
    until = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_death_of_a_test_process_ends_its_servers_and_their_commands(tmp_path):
    (tmp_path / MAIN).mkdir()
    (tmp_path / MAIN / "__main__.py").write_text(WAITS)
    code = "import sys, preloaded; print(preloaded.servers()[1].pid, flush=True); preloaded.run(sys.argv[1:])"
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(preloaded.HERE)}
    command = [sys.executable, "-c", code, sys.executable, "-m", MAIN]
    tests = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True)
    server = psutil.Process(int(tests.stdout.readline()))
    until = time.monotonic() + 30
    while not (tmp_path / "up").exists() and time.monotonic() < until:
        time.sleep(0.01)
    all_of_them = [server, *server.children(recursive=True)]
    assert {int(pid) for pid in (tmp_path / "up").read_text().split()} < {process.pid for process in all_of_them}
    tests.kill()
    tests.wait()
    _, left = psutil.wait_procs(all_of_them, timeout=10)
    assert not [process for process in left if alive(process.pid)]


@pytest.mark.long
def test_a_build_has_the_same_bytes_as_one_whose_every_process_is_an_interpreter(tmp_path):
    found = {}
    for real in (False, True):
        (tmp_path / str(real)).mkdir()
        project = small_project(tmp_path / str(real), real=real)
        assert len(project.repro()) > 20
        found[real] = outputs_of(project.folder)
    assert found[False] == found[True]
