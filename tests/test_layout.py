"""The rooms: code is where its name says, the graph knows what it depends on, and every command is documented."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
GRAPH = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
PARAMS = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))
DATA_ENGINE = {"polars", "duckdb", "dvc", "pandera"}
# a grpo step's preflight holds the hash of the reward code, so that an edit of it reaches no other step
# read as text for the names in it; imported by name, whatever the kind
WITHOUT_IMPORT = {
    ("check", "validators/rewards.py"),
    ("validate", "validators/_messages.py"),
    ("validate", "validators/_pandera.py"),
    ("validate", "validators/_warnings.py"),
}
THROUGH_PREFLIGHT = {("train", "validators/rewards.py")}


def body(stage):
    return GRAPH[stage].get("do", GRAPH[stage])


@cache
def imports(module):
    """Every module that a file imports, at its top or in a function: names with dots."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def reached(module):
    """The files of the project that a file needs to run, itself included."""
    files, todo = {module}, [module]
    while todo:
        for name in imports(todo.pop()):
            path = name.replace(".", "/") + ".py"
            if path not in files and (ROOT / path).exists():
                files.add(path)
                todo.append(path)
    return files


def test_every_stage_is_a_module_and_every_module_a_stage():
    assert sorted(GRAPH) == STAGES
    for stage in STAGES:
        assert f"-m stages {stage}" in body(stage)["cmd"]


def test_every_stage_says_what_it_does():
    assert all(body(stage).get("desc") for stage in STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_modules_that_it_imports(stage):
    needed = {path for path in reached(f"stages/{stage}.py") if (stage, path) not in THROUGH_PREFLIGHT}
    declared = {dep for dep in body(stage)["deps"] if dep.endswith(".py") and "$" not in dep}
    assert needed == {path for path in declared if (stage, path) not in WITHOUT_IMPORT}


def test_validate_depends_on_all_that_any_validator_imports():
    kinds = {path for kind in ("sft", "preference", "kto", "grpo") for path in reached(f"validators/{kind}.py")}
    deps = set(body("validate")["deps"])
    assert "validators/${item.kind}.py" in deps
    shared = {path for path in kinds if "/_" in path}
    assert shared and shared <= deps


def test_imports_run_one_way():
    for path in (ROOT / "validators").glob("*.py"):
        assert not any(name.startswith(("stages", "commands")) for name in imports(f"validators/{path.name}")), path
    for path in (ROOT / "stages").glob("*.py"):
        assert not any(name.startswith("commands") for name in imports(f"stages/{path.name}")), path


@pytest.mark.parametrize("stage", ["preflight", "train", "evaluate", "evaluate_base"])
def test_what_runs_on_a_gpu_image_imports_nothing_of_the_data_engine(stage):
    outside = {name.split(".")[0] for path in reached(f"stages/{stage}.py") for name in imports(path)}
    assert not outside & DATA_ENGINE


def test_every_section_of_params_is_used_by_the_graph():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    named = {str(param).split(".")[0] for stage in STAGES for param in body(stage).get("params", [])}
    for section in PARAMS:
        # methods are there to be taken by steps, through YAML's anchors; the engine changes no byte of any output
        assert section in named or f"${{{section}" in text or section in ("methods", "engine"), section


def test_every_kind_of_dataset_has_a_validator_with_documented_checks():
    import importlib

    for kind in ("sft", "preference", "kto", "grpo"):
        checks = importlib.import_module(f"validators.{kind}").CHECKS
        assert all(name.startswith(f"{kind}.") and text for name, text in checks.items())


def test_every_command_is_a_module_and_documented():
    main = (ROOT / "commands/__main__.py").read_text(encoding="utf-8")
    docs = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for path in (ROOT / "commands").glob("[a-z]*.py"):
        assert f'app.command("{path.stem}")({path.stem}.main)' in main
        assert f"tilth {path.stem}" in docs


def test_every_test_file_is_named_after_a_module():
    modules = {
        path.stem.lstrip("_")
        for room in ("stages", "validators", "commands", "data")
        for path in ROOT.glob(f"{room}/*.py")
    }
    for path in (ROOT / "tests").glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert name in modules | {
            "layout",
            "graph",
            "sample",
            "documentation",
            "fuzz",
            "preloaded",
            "recipes",
            "security",
            "faults",
            "faults_disk",
            "faults_kills",
            "faults_remote",
        }, path


def test_no_path_of_this_machine_and_no_registry_is_written_down():
    forbidden = re.compile(r"/(?:root|home)/\w|pypi\.org|files\.pythonhosted", re.IGNORECASE)
    for path in [
        *ROOT.glob("*.*"),
        *ROOT.glob("Makefile"),
        *(p for room in ("stages", "validators", "commands", "docs") for p in ROOT.glob(f"{room}/**/*.*")),
    ]:
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".yaml", ".txt", ".sql", ""):
            assert not forbidden.search(path.read_text(encoding="utf-8")), path


def test_checking_rows_imports_no_pandas_and_hides_it_from_nobody():
    code = "import sys, validators.sft; assert 'pandas' not in sys.modules; import pandas; assert pandas.DataFrame"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
