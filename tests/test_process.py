"""A trainer ends with what started it, whatever stands between, and one step has one trainer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.core.process import lock_step
from validators.problems import Problems

ROOT = Path(__file__).parents[1]
CHILD = "import time; from stages.core.process import end_with_parent; end_with_parent(); print('up', flush=True); time.sleep(60)"
linux = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")


def parent_of(command, marked=True):
    """A process that starts a command as dvc does, tells the pid of the command, and waits for it."""
    code = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # these tests themselves may run under nohup
        f"child = subprocess.Popen({command!r}, env=os.environ | {'{'}'DVC_STAGE': 'train@sft'{'}'} if {marked} else None)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid, seconds):
    for _ in range(int(seconds * 20)):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


@linux
@pytest.mark.parametrize("marked", [True, False], ids=["under dvc", "by hand"])
def test_the_death_of_the_parent_ends_a_stage_at_once(marked):
    parent = parent_of([sys.executable, "-c", CHILD], marked)
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "up\n" and alive(child)
    parent.send_signal(signal.SIGKILL)
    assert gone_within(child, 5)
    parent.wait()


@linux
def test_the_death_of_dvc_ends_a_stage_behind_a_launcher_that_lives_on():
    launcher = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {CHILD!r}]); time.sleep(60)"
    parent = parent_of([sys.executable, "-c", launcher])
    between = int(parent.stdout.readline())
    assert parent.stdout.readline() == "up\n"
    stage = int(Path(f"/proc/{between}/task/{between}/children").read_text().split()[0])
    parent.send_signal(signal.SIGKILL)
    try:
        assert gone_within(stage, 5)
        assert alive(between)
    finally:
        os.kill(between, signal.SIGKILL)
        parent.wait()


@linux
def test_a_stage_whose_dvc_died_before_it_looked_does_not_start(tmp_path):
    late = f"import time; time.sleep(1); open({str(tmp_path / 'began')!r}, 'w'); {CHILD.replace('60', '30')}; open({str(tmp_path / 'ran')!r}, 'w')"
    parent = parent_of([sys.executable, "-c", late])
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone_within(child, 10)
    assert (tmp_path / "began").exists() and not (tmp_path / "ran").exists()


@linux
def test_nohup_lets_a_stage_outlive_the_shell_that_started_it():
    parent = parent_of(["nohup", sys.executable, "-c", CHILD], marked=False)
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "up\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        assert not gone_within(child, 2.5)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_second_holder_of_a_step_is_refused_with_a_hint(tmp_path):
    with lock_step(tmp_path / "sft"):
        code = (
            "import sys; from pathlib import Path; from stages.core.process import lock_step;"
            f"lock_step(Path({str(tmp_path / 'sft')!r}), timeout_s=0)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "steps.sft: another process trains this step" in done.stderr
    assert "fuser" in done.stderr


def test_a_killed_holder_leaves_no_lock(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from stages.core.process import lock_step;"
        f"lock = lock_step(Path({str(tmp_path / 'sft')!r})); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    lock_step(tmp_path / "sft", timeout_s=0).release()


def test_the_processes_of_one_launch_are_one_trainer(tmp_path, monkeypatch):
    with lock_step(tmp_path / "sft"):
        monkeypatch.setenv("RANK", "1")
        lock_step(tmp_path / "sft", timeout_s=0).release()
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(Problems):
            lock_step(tmp_path / "sft", timeout_s=0)
