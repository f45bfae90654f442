"""The rooms: code is where its name says, the graph knows what it depends on, and every command is documented."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from builds import SAMPLE
from conftest import CODE
from ruamel.yaml import YAML

from stages import code
from stages.core import stage_params
from validators.params import (
    Base,
    Curate,
    Dataset,
    Difficulty,
    Evaluate,
    Judge,
    LmEval,
    Lora,
    Preflight,
    Step,
    fill_defaults,
)

ROOT = Path(__file__).parents[1]
GRAPH = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
PARAMS = YAML(typ="safe", pure=True).load(SAMPLE)
ASKED = {"problems": {"from": "sft", "keep": [0.1, 0.9]}}
WITH_RULES = PARAMS | {"expires": {"chat": "2030-01-01"}, "difficulty": ASKED}  # which the graph of the sample has not
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))
DATA_ENGINE = {"polars", "duckdb", "dvc", "pandera"}


def body(stage):
    return GRAPH[stage].get("do", GRAPH[stage])


def test_every_stage_is_a_module_and_every_module_a_stage():
    assert sorted(GRAPH) == STAGES
    for stage in STAGES:
        assert f"-m stages {stage}" in body(stage)["cmd"]


def test_every_stage_says_what_it_does():
    assert all(body(stage).get("desc") for stage in STAGES)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "code"])
def test_a_stage_depends_on_the_list_of_its_code(stage):
    assert f".build/code/{stage}" in body(stage)["deps"]


def test_the_lists_of_code_are_those_of_the_code():
    there = {
        path.relative_to(ROOT / code.OUT).as_posix(): path for path in (ROOT / code.OUT).rglob("*") if path.is_file()
    }
    found = {name: path.read_text(encoding="utf-8") for name, path in there.items()}
    assert found == code.list_code(ROOT), "out of date: python -m stages code"


def test_every_import_by_name_is_in_the_table():
    made = re.compile(r"\b(import_module|__import__)\(")
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ("stages", "validators", "commands")
        for path in (ROOT / room).rglob("*.py")
        if made.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(code.BY_NAME)


def test_what_a_checker_of_types_is_not_to_see_has_a_code_and_a_reason():
    for room in ("stages", "validators", "commands"):
        for path in (ROOT / room).rglob("*.py"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not re.search(r"# *(ty|type): *ignore", line) or re.search(
                    r"# ty: ignore\[[a-z-]+\]  # \w", line
                ), (path, line)


def test_packages_hold_no_code_of_their_own():
    assert not [
        path
        for room in ("stages", "validators", "commands")
        for path in (ROOT / room).rglob("__init__.py")
        if path.read_text()
    ]


def test_imports_run_one_way():
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def statements(node):
    """All that stands in a module, without what is there for the checker of types alone."""
    for inner in ast.iter_child_nodes(node):
        if not (isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING"):
            yield inner
            yield from statements(inner)


@pytest.mark.parametrize("stage", ["preflight", "train", "evaluate", "evaluate_base"])
def test_what_runs_on_a_gpu_image_imports_nothing_of_the_data_engine(stage):
    tree = code.Tree(ROOT)
    found = (node for path in tree.closure(f"stages/{stage}.py") for node in statements(tree.syntax(path)))
    outside = {name.split(".")[0] for node in found for name in code.names_imported_by(node, "")}
    assert {"json", "stages"} <= outside
    assert not outside & DATA_ENGINE


def test_every_section_of_params_is_read_by_a_stage():
    read = {section for found in stage_params.params_by_stage(fill_defaults(WITH_RULES)).values() for section in found}
    # methods are there to be taken by steps, through YAML's anchors
    assert read == set(fill_defaults(WITH_RULES)) - {"methods"}


def test_a_stage_depends_on_what_it_reads_of_the_params_and_on_nothing_else_of_them():
    names = {
        "${key}": {
            "ingest": "chat",
            "validate": "chat",
            "expire": "chat",
            "curate": "chat",
            "difficulty": "problems",
            "keep": "problems",
            "evaluate": "sft",
        }
    }
    declared = {stage: [dep for dep in body(stage).get("deps", []) if ".build/params/" in dep] for stage in STAGES}
    for stage, deps in declared.items():
        inside = f"/{names['${key}'][stage]}" if stage in names["${key}"] else ""
        wanted = f".build/params/{stage}{inside}.json"
        found = [dep.replace("${key}", inside[1:]) for dep in deps]
        assert found == ([wanted] if wanted in stage_params.texts_by_path(fill_defaults(WITH_RULES)) else [])
        source = (ROOT / f"stages/{stage}.py").read_text(encoding="utf-8")
        asked = re.findall(r'read_params\("(\w+)"', source)
        assert asked == ([stage] if found else [])
    assert not any(body(stage).get("params") for stage in STAGES)


DEFAULTS = {
    name: field.default
    for model in (Base, Curate, Dataset, Difficulty, Evaluate, Judge, LmEval, Lora, Preflight, Step)
    for name, field in model.model_fields.items()
    if not field.is_required()
}


def second_defaults(source):
    """The keys of params to which some code gives a default of its own: `.get("samples", 8)`, `{"samples": 8} | given`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            first, *default = [arg.value if isinstance(arg, ast.Constant) else ... for arg in node.args] or [None]
            if first in DEFAULTS and default and default != [None]:
                yield first
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            asked = [arg.value for arg in getattr(node.values[0], "args", []) if isinstance(arg, ast.Constant)]
            other = getattr(node.values[1], "value", None)
            if asked[:1] and asked[0] in DEFAULTS and other and other == DEFAULTS[asked[0]]:
                yield asked[0]
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                given = value.value if isinstance(value, ast.Constant) else ...
                name = getattr(key, "value", None)
                if name in DEFAULTS and DEFAULTS[name] not in (None, False) and given == DEFAULTS[name]:
                    yield name


@pytest.mark.parametrize(
    "code", ['a.get("samples", 8)', '{"ngram_words": 13} | rules', 'a.get("max_reject_share") or 0.05']
)
def test_a_second_default_is_found(code):
    assert list(second_defaults(code))


def test_no_default_of_params_stands_a_second_time():
    places = [*(ROOT / "stages").rglob("*.py"), *(ROOT / "commands").rglob("*.py")]
    found = {
        path.relative_to(ROOT).as_posix(): list(second_defaults(path.read_text(encoding="utf-8"))) for path in places
    }
    assert {path: names for path, names in found.items() if names} == {}
    numbers = re.compile(r"Field\(.*\)\] = (LIMITS|SAMPLE_SIZES)|= (LIMITS|SAMPLE_SIZES)")
    source = (ROOT / "validators/params.py").read_text(encoding="utf-8")
    assert len(numbers.findall(source)) == len(Preflight.model_fields)


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
        for room in ("stages", "validators", "commands", "data", "docs")
        for path in ROOT.glob(f"{room}/**/*.py")
    }
    for path in (ROOT / "tests").glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert name in modules | {
            "builds",
            "corpus",
            "layout",
            "own_repository",
            "second_day",
            "workflows",
            "graph",
            "sample",
            "documentation",
            "fuzz",
            "preloaded",
            "raw_to_tokens",
            "quick",
            "recipes",
            "security",
            "faults",
            "faults_disk",
            "faults_kills",
            "faults_remote",
            "line_ends",
            "public_forms",
            "bits",
            "command_line",
            "upgrading",
            "answers_command",
        }, path


def test_no_path_of_this_machine_and_no_registry_is_written_down():
    forbidden = re.compile(r"/(?:root|home)/\w|pypi\.org|files\.pythonhosted", re.IGNORECASE)
    for path in [
        *(ROOT / name for name in CODE),  # what else lies there is its user's
        *(p for room in ("stages", "validators", "commands", "docs") for p in ROOT.glob(f"{room}/**/*.*")),
    ]:
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".yaml", ".txt", ".sql", ""):
            assert not forbidden.search(path.read_text(encoding="utf-8")), path


def test_checking_rows_imports_no_pandas_and_hides_it_from_nobody():
    code = "import sys, validators.sft; assert 'pandas' not in sys.modules; import pandas; assert pandas.DataFrame"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
