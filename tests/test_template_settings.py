"""What params.yaml says of a base's tokenizer is in its folder, and whoever loads it obeys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import templates
from builds import SAMPLE

from stages.training import template_settings
from stages.training.models import load_tokenizer, renderer, save_tiny_model, stop_tokens
from validators.params import examine, read_params_yaml
from validators.problems import Problems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NOTHING = {"chat_template": None, "eos_token": None, "chat_template_kwargs": {}, "date": None}
TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("models/base"))
    return Path("models/base")


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def text_of(folder, **options):
    return renderer(folder).text(TALK, **options)


def test_a_base_of_which_nothing_is_said_stays_as_it_is(folder):
    before = files(folder)
    assert template_settings.apply_settings(folder, NOTHING) == []
    assert files(folder) == before


def test_a_chat_template_of_ones_own_is_the_bases(folder):
    template_settings.apply_settings(folder, NOTHING | {"chat_template": templates.CHATML})
    assert text_of(folder) == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"


def test_a_base_without_any_template_can_be_used_with_one(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Problems, match=r"base: \{chat_template: FILE\}"):
        load_tokenizer(folder)
    template_settings.apply_settings(folder, NOTHING | {"chat_template": templates.CHATML})
    assert load_tokenizer(folder).chat_template == templates.CHATML


def test_another_end_of_turn_is_where_every_loader_stops(folder):
    template_settings.apply_settings(folder, NOTHING | {"eos_token": "<|call|>"})
    tokenizer = load_tokenizer(folder)
    (call,) = tokenizer.convert_tokens_to_ids(["<|call|>"])
    (end,) = tokenizer.convert_tokens_to_ids(["<|end|>"])
    assert tokenizer.eos_token == "<|call|>"
    assert stop_tokens(tokenizer, folder) == {call, end}
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == sorted([call, end])
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == call


def test_a_token_that_the_tokenizer_does_not_know_is_a_problem_with_the_nearest(folder):
    with pytest.raises(Problems) as error:
        template_settings.apply_settings(folder, NOTHING | {"eos_token": "<|ends|>"})
    (problem,) = error.value.problems
    assert (problem.where, problem.hint) == ("base.eos_token", "did you mean '<|end|>'?")


def test_what_generation_obeys_names_the_tokenizers_end_too(folder):
    path = folder / "generation_config.json"
    path.write_text('{"eos_token_id": 5}')
    (line,) = template_settings.apply_settings(folder, NOTHING)
    assert "1, 5" in line
    assert json.loads(path.read_text())["eos_token_id"] == [1, 5]


def test_what_a_template_is_given_is_given_to_everybody(folder):
    template = "{% if enable_thinking is defined and not enable_thinking %}no thought: {% endif %}" + templates.CHATML
    template_settings.apply_settings(
        folder, NOTHING | {"chat_template": template, "chat_template_kwargs": {"enable_thinking": False}}
    )
    assert text_of(folder).startswith("no thought: <|im_start|>")
    assert json.loads((folder / template_settings.SETTINGS_FILE).read_text()) == {
        "chat_template_kwargs": {"enable_thinking": False}
    }


def test_a_template_that_prints_the_date_prints_one_day(folder):
    dated = NOTHING | {"chat_template": templates.GRANITE}
    (line,) = template_settings.apply_settings(folder, dated)
    assert "2024-07-26" in line and "base.date" in line
    assert "Today is July 26, 2024." in text_of(folder)
    assert template_settings.apply_settings(folder, dated | {"date": "2026-02-01"}) == []
    assert "Today is February 01, 2026." in text_of(folder)
    # TRL renders with the same tokenizer, and knows nothing of this project
    assert "February 01, 2026" in load_tokenizer(folder).apply_chat_template(TALK, tokenize=False)


def test_a_tokenizer_that_its_class_would_misread_is_read_as_it_stands(folder):
    """transformers #45488: a byte-level tokenizer in a folder that says LlamaTokenizerFast loses its spaces."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "LlamaTokenizerFast"}))
    broken = load_tokenizer(folder)
    assert broken.decode(broken("two words", add_special_tokens=False)["input_ids"]) != "two words"
    (line,) = template_settings.apply_settings(folder, NOTHING)
    assert "LlamaTokenizerFast would make other tokens of" in line
    mended = load_tokenizer(folder)
    assert mended.decode(mended("two words", add_special_tokens=False)["input_ids"]) == "two words"


def test_no_stage_warns_of_spaces_that_are_cleaned_up_in_no_tokenizer(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"clean_up_tokenization_spaces": True}))
    code = "from stages.training.models import load_tokenizer; print(load_tokenizer().decode([5, 6]))"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    assert "clean_up_tokenization_spaces" in subprocess.run(run, capture_output=True, text=True).stderr
    template_settings.disable_space_cleanup(folder)
    assert subprocess.run(run, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(
    "base, where",
    [
        ({"chat_template": "no.jinja"}, "params.yaml: base.chat_template"),
        ({"chat_template": "../x.jinja"}, "params.yaml: base.chat_template"),
        ({"date": "2026-02-30"}, "params.yaml: base.date"),
        ({"date": "yesterday"}, "params.yaml: base.date"),
        ({"eos_token": ""}, "params.yaml: base.eos_token"),
    ],
)
def test_a_mistake_in_what_is_said_of_the_base_is_named(base, where):
    params = read_params_yaml(SAMPLE)
    ((problem,), _) = examine(params | {"base": params["base"] | base})
    assert problem.where == where


def test_a_switch_that_the_template_does_not_read_is_a_problem_with_the_nearest(folder):
    template = "{% if enable_thinking %}thought: {% endif %}" + templates.CHATML
    with pytest.raises(Problems) as error:
        template_settings.apply_settings(
            folder, NOTHING | {"chat_template": template, "chat_template_kwargs": {"enable_thinkin": False}}
        )
    (problem,) = error.value.problems
    assert (problem.where, problem.hint) == ("base.chat_template_kwargs", "did you mean 'enable_thinking'?")
    assert template_settings.unread_kwargs_problems("evaluate", template, {"enable_thinking": True}) == []


@pytest.mark.parametrize("section", ["base", "evaluate"])
def test_what_rendering_gives_a_template_itself_is_no_switch(section):
    params = read_params_yaml(SAMPLE)
    ((problem,), _) = examine(
        params | {section: params[section] | {"chat_template_kwargs": {"tools": [], "enable_thinking": True}}}
    )
    assert problem.where == f"params.yaml: {section}.chat_template_kwargs.tools"


@pytest.mark.parametrize("key", ["eos_token", "chat_template_kwargs"])
def test_what_holds_for_all_steps_is_no_arg_of_one(key):
    params = read_params_yaml(SAMPLE)
    method = "grpo" if key == "chat_template_kwargs" else "sft"
    step = params["methods"][method] | {"from": "base", "args": params["methods"][method]["args"] | {key: "x"}}
    ((problem,), _) = examine(params | {"steps": {"sft": step}, "gates": []})
    assert f"base.{key}" in str(problem)
