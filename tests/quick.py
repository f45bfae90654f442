"""Quick tests stay quick: one that is marked neither slow nor long starts no DVC and no stage, and imports no torch.
And no test opens what is a user's in this repository: it would fail with other params, or without the sample's data.

It fails if it does, and says by what. These are hooks of pytest; conftest.py has them.
"""

import builtins
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[1]) + os.sep
MARKS = ("slow", "long")
QUICK = " and ".join(f"not {mark}" for mark in MARKS)  # of `pytest -m`
HEAVY = {"accelerate", "dvc", "peft", "ray", "torch", "transformers", "trl"}  # seconds each; most import torch
# what a user replaces; tests have their own (builds.py: write_sample), but for those that are skipped there
NAMES = (
    "params.yaml", "dvc.lock", ".dvc/config", ".build/params/", ".build/expired/",
    "data/raw/", "data/benchmarks/", "data/tasks/", "data/forgotten.jsonl", "models/",
)  # fmt: skip
USERS = tuple(ROOT + name for name in NAMES)
TOLD = "opens the user's "
imported = builtins.__import__
collected = {}  # by test file: what it does while it is imported
doing = None  # what the test or the file does that runs now


def import_of(name, globals=None, locals=None, fromlist=(), level=0):
    """`import` itself, which tells of heavy libraries: sys.modules would not, where another test has imported them.

    A library may ask for another one because that is there already: this is no work of the test's.
    """
    library = name.partition(".")[0]
    if doing is not None and not level and library in HEAVY:
        file = str((globals or {}).get("__file__", ""))
        ours = file.startswith(ROOT) and not file.startswith(sys.prefix + os.sep)  # .venv/ lies in the project
        absent = sys.modules.get(library, library) is None  # a test says that it is not installed
        if not absent and (ours or library not in sys.modules):
            doing.append(f"imports {library}")
    return imported(name, globals, locals, fromlist, level)


def start_of(event, arguments):
    if doing is None:
        return
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(USERS):
            doing.append(TOLD + path.removeprefix(ROOT))
    if event != "subprocess.Popen":
        return
    command = arguments[1]
    words = command.split() if isinstance(command, str) else " ".join(map(os.fsdecode, command)).split()
    if any(os.path.basename(word) == "dvc" for word in words):
        doing.append("starts dvc")
    if ("-m", "stages") in pairwise(words):
        doing.append("starts a stage")


builtins.__import__ = import_of
sys.addaudithook(start_of)


def pytest_ignore_collect(collection_path, config):
    """A file that is slow as a whole is not even imported for the quick tests."""
    if config.option.markexpr == QUICK and collection_path.suffix == ".py":
        return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    global doing
    doing = collected.setdefault(collector.path, []) if isinstance(collector, pytest.Module) else None
    try:
        return (yield)
    finally:
        doing = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    global doing
    doing = []
    try:
        return (yield)
    finally:
        doing = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    found = dict.fromkeys([*collected.get(item.path, []), *doing])
    users = [what for what in found if what.startswith(TOLD)]
    if users and not item.get_closest_marker("shipped"):
        pytest.fail(
            f"{item.nodeid}: {', '.join(users)}\n  hint: the sample of the tests is builds.SAMPLE and builds.write_sample(folder)",
            pytrace=False,
        )
    found = [what for what in found if what not in users]
    if found and not any(item.get_closest_marker(mark) for mark in MARKS):
        pytest.fail(
            f"{item.nodeid}: {', '.join(found)}, so it must be marked slow: @pytest.mark.slow\n"
            f"  hint: what is marked neither {' nor '.join(MARKS)} is for `make quick`; import in the test, not at the top",
            pytrace=False,
        )
    return result
