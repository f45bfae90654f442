"""Each key of params.yaml has its line in validators/param_docs.py and in docs/params.md, with an example that its model takes."""

from pathlib import Path

import pytest
from builds import SAMPLE
from ruamel.yaml import YAML

from docs.params_page import keys_of, params_page
from validators.param_docs import all_key_docs
from validators.params import Params, read_params_yaml, schema_problems

ROOT = Path(__file__).parents[1]
REQUIRED = {  # what a model that the sample does not have must have beside the key of an example
    "difficulty.NAME.": {"from": "base", "keep": [0.1, 0.9]},
    "evaluate.judge.": {"model": "../judge"},
    "evaluate.lm_eval.": {"tasks": ["arc_easy"]},
}
KEYS = dict(keys_of(Params.model_json_schema(by_alias=True)))


def at_its_place(key, text):
    """The sample's params with the value that a text of YAML says at a key: (params, the mapping that has it)."""
    params = read_params_yaml(SAMPLE)
    params["methods"] = {}
    place, parts = params, key.split(".")
    for part in parts[:-1]:
        if part.endswith("[]"):
            place = place.setdefault(part[:-2], [{}])[0]
        elif part == "NAME":
            place = next(iter(place.values())) if place else place.setdefault("mine", {})
        else:
            place[part] = place.get(part) or {}
            place = place[part]
    place[parts[-1]] = YAML(typ="safe", pure=True).load(text)
    return params, place


def problems_of(key, text):
    params, place = at_its_place(key, text)
    for model, required in REQUIRED.items():
        if key.startswith(model):
            place.update({name: value for name, value in required.items() if name not in place})
    return schema_problems(params)[0]


def test_each_key_has_an_entry_and_each_entry_a_key():
    missing = [key for key in KEYS if key not in all_key_docs()]
    assert not missing, f"without an entry in validators/param_docs.py: {missing}"
    assert set(all_key_docs()) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_the_model_of_a_key_takes_its_example(key):
    assert problems_of(key, all_key_docs()[key].example) == []


@pytest.mark.parametrize(
    ("key", "text"),
    [("seed", "seven"), ("steps.NAME.lora.r", "0"), ("gates[].by", "-1"), ("datasets.NAME.kind", "dpo")],
)
def test_an_example_that_the_model_does_not_take_is_found(key, text):
    assert [problem.where.rpartition(".")[2] for problem in problems_of(key, text)] == [
        key.rpartition(".")[2]
    ] or key == "seed"
    assert problems_of(key, text)


def test_a_meaning_is_a_sentence():
    for key, entry in all_key_docs().items():
        assert entry.meaning and "\n" not in entry.meaning, key


def test_the_page_is_that_of_the_models():
    assert (ROOT / "docs/params.md").read_text(encoding="utf-8") == params_page(), "python -m docs.generate"


def test_the_page_has_a_line_for_each_key():
    page = (ROOT / "docs/params.md").read_text(encoding="utf-8")
    assert page.count("<br>default: ") + page.count("<br>required |") == len(KEYS)
    for key in KEYS:
        assert f"{key.rpartition('.')[2]}` |" in page


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("`eval_fraction`", "number, above 0, below 1<br>required"),
        ("`split_on`", "list of `system` or `user`<br>default: `[user]`"),
        ("`rollouts`", "the keys below or null<br>default: `{every: 10, max_rows: 5000}`"),
    ],
)
def test_a_type_has_its_bounds_and_its_default(line, told):
    assert f"| {line} | {told} |" in params_page()
