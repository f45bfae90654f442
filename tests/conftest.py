"""A small copy of the project in which real `dvc repro` runs in a minute."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import preloaded
import pytest
from builds import write_sample
from filelock import FileLock
from quick import (  # noqa: F401 - hooks of pytest
    pytest_ignore_collect,
    pytest_make_collect_report,
    pytest_runtest_call,
    pytest_runtest_protocol,
)
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
# Tests run two at once: where each also has torch compute with all cores, its threads spin while they wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is tested is the CPU: with a GPU and Unsloth, `auto` would put every training on them.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
preloaded.VARIABLES.update(os.environ)
ROWS = 120
# what Tilth is made of; params, data, models and all else beside it are those of whose repository it is
CODE = (
    ".build/code", ".ci", ".dvc/.gitignore", ".dvc/plots", ".dvcignore", ".gitattributes", ".github", ".gitignore", "CHANGELOG.md",
    "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "benchmarks", "commands", "constraints-next.txt", "constraints.txt", "docs",
    "dvc.yaml", "mkdocs.yml", "pyproject.toml", "recipes", "stages", "tests", "validators",
)  # fmt: skip


class Project:
    """A folder with the project in it, its params and its command line. real: see preloaded.run."""

    def __init__(self, folder, real=False):
        self.folder = folder
        self.real = real

    def run(self, *command, fails=False):
        """Output of a command in the project's folder, with this Python first on the path. fails: None for either."""
        done = self.start(*command)
        assert fails is None or (done.returncode != 0) == fails, (
            f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        )
        return done.stdout + done.stderr

    def start(self, *command, **variables):
        """A command that was run to its end, as subprocess tells of it."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
        } | variables  # fmt: skip
        return preloaded.run(command, cwd=self.folder, env=environment, real=self.real, capture_output=True, text=True)

    def repro(self, *arguments):
        """The stages that `dvc repro` runs, not those that it restores."""
        output = self.run("dvc", "repro", *arguments)
        return set(re.findall(r"Running stage '([^']+)'", output))

    def commit(self):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "a change")

    def read_params(self):
        return YAML(typ="safe", pure=True).load(self.folder / "params.yaml")

    def write_params(self, params):
        with open(self.folder / "params.yaml", "w", encoding="utf-8") as file:
            YAML(pure=True).dump(params, file)  # in the order that they have; `safe` would sort

    def write_checked(self, params):
        """params.yaml, and what `check` writes of it: for stages that a test calls itself."""
        from stages.core import stage_params
        from validators.params import fill_defaults

        self.write_params(params)
        with contextlib.chdir(self.folder):
            stage_params.write_stage_params(fill_defaults(params))

    def edit(self, path, old, new):
        text = (self.folder / path).read_text(encoding="utf-8")
        assert old in text
        (self.folder / path).write_text(text.replace(old, new), encoding="utf-8")

    def copy(self, folder, real=False):
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, real)


def copy_code(folder):
    """Tilth as it stands in the working tree, without what is its user's."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *CODE],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in filter(lambda name: (ROOT / name).is_file(), listed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def small_project(folder, rows=ROWS, real=False):
    """Tilth as it stands in the working tree, with the first rows of the sample (None: all) and few training steps."""
    copy_code(folder)
    write_sample(folder)
    project = Project(folder, real)
    shrink(project, rows)
    project.run("git", "init", "-q")
    project.commit()
    return project


def shrink(project, rows=ROWS):
    """Leave the first rows of the sample's data (None: all) and few training steps in a project."""
    folder = project.folder
    if rows:
        for name in ("chat/alpaca.json", "chat/sharegpt.jsonl", "chat/chatml.jsonl"):
            (folder / "data/raw" / name).unlink()
        for path in (folder / "data/raw").rglob("*.*"):
            path.write_text("".join(path.read_text(encoding="utf-8").splitlines(True)[:rows]), encoding="utf-8")
    params = project.read_params()
    for method, step in params["methods"].items():
        step["args"] = step["args"] | {"max_steps": 2, "per_device_train_batch_size": 8}
        step["args"].pop("num_train_epochs", None)
        if method == "grpo":
            step["args"]["max_completion_length"] = 4
    params["steps"] = {"sft": params["methods"]["sft"], "align": params["methods"]["dpo"]}
    params["preflight"] = params["preflight"] | {"tie_prompts": 0}  # after two steps a model earns nothing yet
    params["evaluate"] = {"max_new_tokens": 4, "max_rows": 10, "batch_size": 10}
    params["datasets"] = {name: dataset | {"max_reject_share": 0.2} for name, dataset in params["datasets"].items()}
    params.pop("gates")  # tests take steps away, and ten eval rows have no interval
    project.write_params(params)


def pytest_collection_finish():
    """What the imports of test files have set (torch: TORCHINDUCTOR_CACHE_DIR) is gone before the first test."""
    os.environ.clear()
    os.environ.update(preloaded.VARIABLES)


@contextlib.contextmanager
def same_variables():
    """Environment variables as they were: libraries and stages set some, and a preloaded process refuses what it does not know."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def variables_of_test():
    with same_variables():
        yield


@pytest.fixture(autouse=True, scope="module")
def variables_of_module():
    """What its own fixtures leave behind is gone for the next file of the same worker."""
    with same_variables():
        yield


@pytest.fixture
def ray_cluster():
    """Ray, whose processes end with the test: they would take a core and a gigabyte of all tests after it."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    yield
    ray.shutdown()


@pytest.fixture(autouse=True, scope="session")
def lists_of_code():
    """Stages that tests run in this process, in folders of their own, find the lists of the code that they are."""
    from stages.core import code_lists

    before, code_lists.CODE_FOLDER = code_lists.CODE_FOLDER, ROOT / code_lists.CODE_FOLDER
    yield
    code_lists.CODE_FOLDER = before


def built_once(tmp_path_factory, name, make):
    """A project that `make` writes into a folder, built and committed once for all workers of pytest-xdist."""
    shared = (
        tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.mktemp("b")
    )
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            making = shared / f"{name}-making"
            making.mkdir()
            project = make(making)
            project.repro()
            project.commit()
            making.rename(folder)
    return Project(folder)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A small project, built once; tests work on copies of it."""
    return built_once(tmp_path_factory, "built", small_project)
