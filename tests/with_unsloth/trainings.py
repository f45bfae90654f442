"""The real Unsloth, in processes of a Python that has it: TILTH_UNSLOTH_PYTHON, this one, or one that is made in .venv-unsloth.

It trains in two ways without a GPU: by its own CPU backend, which is plain transformers and PEFT as Unsloth sets them, and by
its way on a GPU, where `tests/gpu/fake` has torch say that there is one and Triton's interpreter runs the kernels.
A plugin of pytest, for the tests beside it. (This folder is not named `unsloth`: pytest puts `tests/` on the path, where it
would be a package of that name; and it has no conftest.py, as the name would be that of the one above.)
"""

import contextlib
import csv
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from builds import run_data_stages
from conftest import Project, small_project
from filelock import FileLock

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAKE = ROOT / "tests/gpu/fake"
ENVIRONMENT = ROOT / ".venv-unsloth"
LORA = {"r": 8, "lora_alpha": 16}
METHODS = ("sft", "dpo", "orpo", "kto", "grpo")
WAYS = {
    "cpu": {"UNSLOTH_DISABLE_CPU_FALLBACK": "0"},
    "gpu": {"TILTH_FAKE_CAPABILITY": "9.0"},  # with bfloat16, as TRL trains by default on a GPU
    "gpu-float32": {"TILTH_FAKE_CAPABILITY": "7.5"},
}
# Triton's interpreter runs each program of a kernel in Python: a row more is a second more
SMALL = {"per_device_train_batch_size": 2, "max_steps": 2}


@pytest.fixture(scope="session")
def unsloth_python():
    """A Python that has Unsloth."""
    for candidate in (os.environ.get("TILTH_UNSLOTH_PYTHON"), sys.executable, ENVIRONMENT / "bin/python"):
        if candidate and has_unsloth(candidate):
            return str(candidate)
    with FileLock(f"{ENVIRONMENT}.lock"):
        return str(install())


def has_unsloth(candidate):
    """Whether a Python has Unsloth; by its distribution, as a folder of that name is found too."""
    code = "from importlib.metadata import version; version('unsloth'), version('bitsandbytes')"
    return Path(candidate).exists() and subprocess.run([candidate, "-c", code], capture_output=True).returncode == 0


def install():
    """Make an environment with what the extra `gpu` brings, over the libraries of this one. Skips where it cannot."""
    found = ENVIRONMENT / "bin/python"
    if found.exists() and has_unsloth(found):
        return found
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    commands = [
        [sys.executable, "-m", "venv", "--clear", ENVIRONMENT],
        [found, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *extras["gpu"]],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            pytest.skip(f"Unsloth is not installed, and cannot be: {last}")
        if command[1:3] == ["-m", "venv"]:
            libraries = next(ENVIRONMENT.glob("lib/python*/site-packages"))
            (libraries / "of_the_project.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    if subprocess.run([found, "-c", "import torchvision"], capture_output=True).returncode:
        # the registry's is built for CUDA: beside a torch for the CPU it does not load, and nothing here looks at pictures
        subprocess.run([found, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    return found


@dataclass(frozen=True)
class Trained:
    """What a training process left, and said."""

    project: Project
    output: str

    def losses(self, name, column="loss"):
        with open(self.project.folder / f"scores/{name}.csv", encoding="utf-8") as file:
            return [float(row[column]) for row in csv.DictReader(file)]

    def made_of(self, name):
        return json.loads((self.project.folder / f"models/{name}/made_of.json").read_text(encoding="utf-8"))


def steps_of(params, lora, args=None, methods=METHODS, **changes):
    """{method: step} of a few optimizer steps each, from the base."""
    steps = {}
    for method in methods:
        own = {"max_steps": 3, "logging_steps": 1, "per_device_train_batch_size": 8, "learning_rate": 1.0e-3}
        own |= args or {}
        if method == "grpo":
            own |= {"max_completion_length": 4, "num_generations": 4, "beta": 0.1}
            own |= {"per_device_train_batch_size": max(4, own["per_device_train_batch_size"])}
        step = params["methods"][method] | {"from": "base", "lora": lora, "args": own}
        steps[method] = step | ({"rewards": ["one_word"]} if method == "grpo" else {}) | changes
    return steps


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small project with its base model and its datasets, and nothing trained."""
    from stages import base, collect

    project = small_project(tmp_path_factory.mktemp("data"))
    with contextlib.chdir(project.folder):
        base.main()
        run_data_stages(*project.read_params()["datasets"])
        collect.main()
    return project


@pytest.fixture
def prepare(data, tmp_path):
    """A function: a copy of the project with these steps, as preflight announces them."""

    def make(name, backend, steps):
        from stages import preflight

        project = data.copy(tmp_path / name)
        params = project.read_params()
        params["base"]["backend"] = backend
        params["steps"] = steps(params)
        project.write_checked(params)
        with contextlib.chdir(project.folder):
            preflight.main()
        return project

    return make


@pytest.fixture
def train(unsloth_python):
    """A function: train steps of a project in a process of their own. way: one of WAYS, None for transformers."""

    def run(project, names, way, before="", fails=False, **variables):
        fake = (way or "").startswith("gpu")
        code = before
        code += "from stages.__main__ import run\n" + "".join(f"run('train', {name!r})\n" for name in names)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        paths = [project.folder, *([FAKE] if fake else [])]
        environment |= {"PYTHONPATH": ":".join(map(str, paths)), "HF_HUB_OFFLINE": "1", "TRITON_INTERPRET": "1"}
        environment |= {"CUDA_VISIBLE_DEVICES": ""} | WAYS.get(way, {}) | variables
        done = subprocess.run(
            [unsloth_python, "-c", code],
            cwd=project.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output[-6000:]
        return Trained(project, output)

    return run
