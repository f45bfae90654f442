"""A test without a mark that does what takes seconds fails, whatever other tests have imported before it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILE = """
import subprocess, sys, types
import pytest

@pytest.fixture(scope="module")
def heavy():
    import dvc

def test_imports_in_a_fixture(heavy):
    pass

def test_imports_what_another_has_imported():
    import dvc.version

@pytest.mark.slow
def test_is_slow_and_may():
    import dvc
    subprocess.run(["true", "dvc"])

def test_starts_dvc():
    subprocess.run(["true", "dvc", "repro"])

def test_starts_it_in_a_shell():
    subprocess.run("true; true /a/dvc repro", shell=True)

def test_starts_a_stage():
    subprocess.run(["true", "-m", "stages", "check"])

def test_opens_the_users_params():
    with open("../params.yaml"):
        pass

@pytest.mark.slow
def test_copies_the_users_data():
    import shutil
    shutil.copyfile("../data/raw/a.jsonl", "there")

@pytest.mark.shipped
def test_is_for_the_sample_and_may():
    open("../params.yaml").close()

def test_does_nothing_of_it(monkeypatch):
    subprocess.run(["true", "dvc.yaml", "-m", "commands"])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError):
        import ray
"""


def outcome(folder, text, *options):
    """What pytest says of a file in `tests` of a repository."""
    folder = folder / "tests"
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text((HERE / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("quick.py", "preloaded.py", "builds.py", "make_sample.py"):
        (folder / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow:\n    long:\n    shipped:\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True).stdout


def test_a_quick_test_that_does_what_is_slow_and_a_test_that_opens_what_is_a_users_fail_by_name(tmp_path):
    (tmp_path / "data/raw").mkdir(parents=True)
    for name in ("params.yaml", "data/raw/a.jsonl"):
        (tmp_path / name).touch()
    said = outcome(tmp_path, FILE)
    for name, what in [
        ("imports_in_a_fixture", "imports dvc"),
        ("imports_what_another_has_imported", "imports dvc"),
        ("starts_dvc", "starts dvc"),
        ("starts_it_in_a_shell", "starts dvc"),
        ("starts_a_stage", "starts a stage"),
    ]:
        assert f"test_it.py::test_{name}: {what}, so it must be marked slow" in said
    assert "test_it.py::test_opens_the_users_params: opens the user's params.yaml" in said
    assert "test_it.py::test_copies_the_users_data: opens the user's data/raw/a.jsonl" in said
    assert "7 failed, 3 passed" in said


def test_what_a_file_imports_at_its_top_counts_for_each_of_its_tests(tmp_path):
    text = "import pytest\nimport dvc.version\n\ndef test_one():\n    pass\n\n@pytest.mark.slow\ndef test_two():\n    pass\n"
    said = outcome(tmp_path, text)
    assert "test_one: imports dvc" in said and "1 failed, 1 passed" in said


@pytest.mark.parametrize(("marks", "ran"), [("not slow and not long", "1 passed"), ("not long", "1 error")])
def test_a_file_that_is_slow_as_a_whole_is_not_read_for_the_quick_tests(tmp_path, marks, ran):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_slow.py").write_text("import pytest\n\npytestmark = pytest.mark.slow\nraise ValueError\n")
    assert ran in outcome(tmp_path, "def test_one():\n    pass\n", "-m", marks)


@pytest.mark.parametrize(
    ("file", "counts"), [("tests/test_x.py", True), (".venv/lib/site-packages/datasets/x.py", False)]
)
def test_only_the_project_itself_counts_where_a_library_is_there_already(file, counts, monkeypatch):
    import quick

    doing = []
    with monkeypatch.context() as patch:
        patch.setattr(quick, "HEAVY", {"json"})
        patch.setattr(quick, "doing", doing)
        patch.setattr(sys, "prefix", quick.ROOT + ".venv")
        quick.import_of("json", {"__file__": quick.ROOT + file})
    assert doing == ["imports json"] * counts
