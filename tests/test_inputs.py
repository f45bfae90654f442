import json
from types import SimpleNamespace

import pytest

from commands.checks.inputs import adapter_problems, settings_problems

STEPS = {
    "sft": {"from": "base", "method": "sft", "dataset": "chat"},
    "align": {"from": "sft", "method": "dpo", "dataset": "pairs"},
}
CHAIN = {
    "models/base/config.json": "00",
    "models/sft/adapters/00_sft/adapter_model.safetensors": "11",
    "models/align/adapters/00_sft/adapter_model.safetensors": "11",
    "models/align/adapters/01_align/adapter_model.safetensors": "22",
}
MADE_OF = {"step": "align", "backend": "transformers", "args": {"beta": 0.1}, **STEPS["align"]}
RESOLVED = MADE_OF | {"backend": "auto"}


def adapters(md5s, name="align"):
    files = {}
    for file in md5s:
        files.setdefault("/".join(file.split("/")[:2]), []).append(file)
    evidence = SimpleNamespace(build=SimpleNamespace(steps=STEPS), files=files, md5s=md5s)
    return [problem.where for problem in adapter_problems(evidence, name, STEPS[name]["from"])]


def test_a_chain_of_adapters_that_is_whole_holds():
    assert adapters(CHAIN) == adapters(CHAIN, "sft") == []


def test_a_model_of_full_weights_has_no_adapters_to_hold():
    assert adapters({"models/sft/config.json": "11", "models/align/config.json": "22"}) == []


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        (
            {"models/align/adapters/00_sft/adapter_model.safetensors": "33"},
            "models/align/adapters/00_sft/adapter_model.safetensors",
        ),
        ({"models/align/adapters/02_other/adapter_model.safetensors": "33"}, "models/align/adapters"),
    ],
)
def test_an_adapter_of_another_model_is_named(changed, where):
    assert adapters(CHAIN | changed) == [where]


def test_adapters_in_another_order_are_named():
    turned = {file.replace("00_sft", "02_sft"): md5 for file, md5 in CHAIN.items()}
    assert adapters(turned) == ["models/align/adapters"]


def settings(tmp_path, monkeypatch, made_of):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "preflight").mkdir()
    (tmp_path / "preflight/align.json").write_text(json.dumps(RESOLVED))
    return [problem.where for problem in settings_problems("align", STEPS["align"], made_of)]


def test_a_model_of_the_settings_that_are_there_holds(tmp_path, monkeypatch):
    assert settings(tmp_path, monkeypatch, MADE_OF | {"versions": {"trl": "1.14.2"}}) == []


@pytest.mark.parametrize(("key", "value"), [("args", {"beta": 0.2}), ("from", "base"), ("backend", "other")])
def test_a_model_of_other_settings_is_named(tmp_path, monkeypatch, key, value):
    assert settings(tmp_path, monkeypatch, MADE_OF | {key: value}) == [f"models/align/made_of.json: {key}"]
