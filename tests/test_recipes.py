"""Every recipe is a params.yaml that `tilth check` takes without a warning, once its raw data are there."""

import json
import re
import shutil
from pathlib import Path

import pytest
from builds import SAMPLE, smollm2, write_sample
from conftest import small_project
from ruamel.yaml import YAML

from stages import check
from stages.rows.shapes import rows_of
from validators.params import read_params_yaml

ROOT = Path(__file__).parents[1]
# compare.yaml is for the tiny model and the sample data: tests/test_documentation.py holds it
# smollm2_sft_dpo.yaml is a whole build with data of its own, which `make real` runs
REAL = ROOT / "recipes/smollm2_sft_dpo.yaml"
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if path.stem != "compare" and path != REAL)
needs_real = pytest.mark.skipif(
    not (ROOT / "data/real").exists(), reason="data/real is not here: it is yours to delete"
)
# raw data of each kind, as the recipes expect them
RAW = {
    "chat": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "pairs": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "feedback": {"prompt": "q", "completion": "a", "label": True},
    "gsm8k": {"question": "Two apples and 40 more?", "answer": "2 + 40 = <<2+40=42>>42\n#### 42"},
}


def params(recipe):
    return YAML(typ="safe", pure=True).load(recipe)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_check_takes_a_recipe_without_a_warning(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(recipe, "params.yaml")
    for dataset in params(recipe)["datasets"].values():
        raw = Path(dataset["raw"])
        raw.mkdir(parents=True, exist_ok=True)
        (raw / "rows.jsonl").write_text(json.dumps(RAW[raw.name]) + "\n")
    assert check.check(read_params_yaml()) == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_needs_and_where_that_is_from(recipe):
    head = recipe.read_text(encoding="utf-8").split("seed:")[0]
    for word in ("hardware", "memory", "time", "data", "settings"):
        assert re.search(rf"^# {word} +\S", head, re.MULTILINE), word
    assert "are estimates, by the formulas of recipes/README.md" in head
    readme = (ROOT / "recipes/README.md").read_text(encoding="utf-8")
    gigabytes = re.search(r"^# memory +about (\d+ GB)", head, re.MULTILINE)[1]
    assert re.search(rf"`{recipe.name}`.*\| {gigabytes} \|", readme)


def test_the_models_and_methods_that_people_ask_for_are_there():
    found = {
        (params(recipe)["base"]["model"], *(step["method"] for step in params(recipe)["steps"].values()))
        for recipe in RECIPES
    }
    assert {model for model, *_ in found} == {
        "Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "meta-llama/Llama-3.2-3B-Instruct", "google/gemma-3-4b-it",
    }  # fmt: skip
    assert {tuple(methods) for _, *methods in found} == {
        ("sft",), ("sft", "dpo"), ("orpo",), ("sft", "kto"), ("sft", "grpo"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["sft", "preference", "kto", "grpo"])
def test_the_raw_data_of_these_tests_are_of_the_kinds_that_recipes_name(name):
    kinds = {
        (dataset["kind"], Path(dataset["raw"]).name)
        for recipe in RECIPES
        for dataset in params(recipe)["datasets"].values()
    }
    for kind, raw in kinds:
        if kind == name:
            assert rows_of(RAW[raw], kind), raw


def test_the_estimate_that_the_readme_works_out_is_what_its_formula_gives():
    weights, adapters, layers, width, vocabulary, tokens = 4.02e9, 33.0e6, 36, 2560, 151936, 2 * 1024
    parts = [2 * weights, 16 * adapters, 2 * layers * width * tokens + 34 * width * tokens, 10 * vocabulary * tokens]
    text = " + ".join(f"{part / 1e9:.1f}" for part in parts) + f" = {sum(parts) / 1e9:.1f} GB"
    assert text in (ROOT / "recipes/README.md").read_text(encoding="utf-8")


@needs_real
def test_check_takes_the_real_recipe_with_waived_warnings_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(REAL, "params.yaml")
    shutil.copytree(ROOT / "data/real", "data/real")
    Path("smollm2.gguf").touch()
    assert all(caution.waived for caution in check.check(read_params_yaml()))


@needs_real
def test_the_real_data_are_small_and_have_their_licenses():
    for path in (ROOT / "data/real").glob("*.jsonl"):
        assert path.with_suffix(".LICENSE").exists(), path
        assert f"| `{path.name}` |" in (ROOT / "data/real/README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in (ROOT / "data/real").iterdir()) < 300_000


@needs_real
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_each_step_of_the_real_recipe_is_better_than_what_it_came_from(tmp_path):
    """`make real`, but for the clone: the interval of each step's own gain leaves zero out."""
    path = smollm2()
    project = small_project(tmp_path, rows=None, real=True)
    shutil.copy(REAL, tmp_path / "params.yaml")
    shutil.copytree(ROOT / "data/real", tmp_path / "data/real")
    shutil.copy(path, tmp_path / "smollm2.gguf")
    project.repro()
    scores = {step: json.loads((tmp_path / f"scores/{step}.json").read_text()) for step in ("sft", "dpo")}
    assert scores["sft"]["sql"]["loss"]["change_high"] < 0
    assert scores["dpo"]["orca"]["pair_accuracy"]["change_low"] > 0


@pytest.mark.parametrize(
    "path", [SAMPLE, ROOT / "recipes/compare.yaml", pytest.param(REAL, marks=needs_real)], ids=lambda path: path.stem
)
def test_no_key_of_the_data_that_tilth_comes_with_is_lost(path, tmp_path):
    from stages.ingest import tables_of
    from stages.reading.parts import split_file
    from stages.rows.key_account import KeyAccount
    from stages.rows.options import options_of

    write_sample(tmp_path)
    for dataset in params(path)["datasets"].values():
        raw, account = (ROOT if path == REAL else tmp_path) / dataset["raw"], KeyAccount()
        for file in [raw] if raw.is_file() else sorted(path for path in raw.rglob("*") if path.is_file()):
            for part in split_file(file):
                assert list(tables_of(part, dataset["kind"], options_of(dataset), account))
        assert account.lost == {}
