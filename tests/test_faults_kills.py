"""kill -9 of dvc, of a stage, of the trainer or of everything, at random moments of a whole build of two steps."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest
from undisturbed import holds, outputs_of, start_anew

from commands.builds.repairs import repair

WHO = ["dvc", "stage", "everything", "trainer"]
KILLS = 52


def two_steps(project):
    """The project with two of its datasets and both steps, built by nobody yet."""
    params = project.read_params()
    params["datasets"] = {name: params["datasets"][name] for name in ("chat", "pairs")}
    for step in params["steps"].values():
        step["args"] |= {"max_steps": 6, "logging_steps": 1}
    project.write_params(params)
    start_anew(project)
    project.commit()
    return project


def build(project):
    """`dvc repro` in a session of its own, with a checkpoint at every step."""
    environment = os.environ | {"TILTH_CHECKPOINT_S": "0", "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
    return subprocess.Popen(
        ["dvc", "repro"], cwd=project.folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def stage_of(dvc, name=""):
    """The process of the stage that dvc runs now, or of a stage of that name; None where there is none."""
    try:
        for child in psutil.Process(dvc.pid).children(recursive=True):
            if f"-m stages {name}" in " ".join(child.cmdline()):
                return child
    except psutil.Error:
        return None
    return None


def kill(dvc, who, moments, whole_s):
    """Kill at a random moment; False where the build had come to its end before."""
    name = "train" if who == "trainer" else ""
    if who == "trainer":
        while dvc.poll() is None and not stage_of(dvc, name):
            time.sleep(0.05)
        wait(dvc, moments.uniform(0, whole_s * 0.1))
    else:
        wait(dvc, moments.uniform(0.2, whole_s * 0.35))
    while who in ("stage", "trainer") and dvc.poll() is None:
        try:
            stage_of(dvc, name).kill()
            return True
        except (AttributeError, psutil.Error):
            time.sleep(0.02)
    if dvc.poll() is not None:
        return False
    os.killpg(dvc.pid, signal.SIGKILL) if who == "everything" else dvc.kill()
    return True


def wait(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_52_kills_at_random_moments_of_the_whole_build_leave_no_trace(built, tmp_path):
    project = two_steps(built.copy(tmp_path / "copy", real=True))
    began = time.monotonic()
    project.repro()
    whole_s, expected = time.monotonic() - began, outputs_of(project.folder)
    assert "models/align/model.safetensors" in expected and "report/index.html" in expected
    start_anew(project)
    moments, killed, mended, builds = random.Random(7), Counter(), [], 0
    while killed.total() < KILLS:
        mended += repair(project.folder)  # what `tilth check` does first, and so `make build`
        who = WHO[killed.total() % len(WHO)]
        running = build(project)
        was_killed = kill(running, who, moments, whole_s)
        told, _ = running.communicate()
        if was_killed and running.returncode:
            killed[who] += 1
            print(f"{killed.total()} of {KILLS}: {who}", flush=True)
            if who in ("stage", "trainer"):
                assert re.search("failed to reproduce .* exited with (-9|137)", told, re.DOTALL), told
        else:
            assert running.returncode == 0, told
            assert outputs_of(project.folder) == expected
            builds += 1
            start_anew(project)
    mended += repair(project.folder)
    holds(project, expected)
    assert min(killed.values()) == KILLS // len(WHO)
    print(f"{dict(killed)}, whole builds in between: {builds}, mended: {mended}, one build: {whole_s:.0f} s")
