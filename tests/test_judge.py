"""`evaluate.judge` of params.yaml and the model that it brings: what cannot judge is named before anything is built."""

import json
from pathlib import Path

import builds
import pytest

from stages import judge as stage
from stages.core import stage_params
from validators._gates import gate_problems
from validators._judge import judge_problems, missing_key
from validators.params import evaluate_problems, fill_defaults, schema_problems
from validators.problems import Problems

DATASETS = {
    "chat": {"kind": "sft"}, "pairs": {"kind": "preference"}, "judged": {"kind": "preference", "metrics": ["rouge_l"]},
    "problems": {"kind": "grpo"}, "feedback": {"kind": "kto"}, "notes": {"kind": "sft", "private": True},
}  # fmt: skip
SERVER = {"server": "http://127.0.0.1:8000/v1", "model": "m"}


def problems(judge):
    return [
        (each.where.removeprefix("params.yaml: evaluate.judge"), each.found) for each in judge_problems(judge, DATASETS)
    ]


@pytest.mark.parametrize(
    "judge",
    [
        None,
        {"model": "reward", "kind": "reward"},
        SERVER,
        SERVER | {"key": "JUDGE_KEY", "args": {"temperature": None}, "on": ["chat", "judged"]},
        {"model": "m", "on": ["notes", "problems"], "against": "parent"},
    ],
)
def test_what_can_judge_has_no_problem(judge):
    assert problems(judge) == []


@pytest.mark.parametrize(
    "judge, where, found",
    [
        (SERVER | {"server": "127.0.0.1:8000"}, ".server", "'127.0.0.1:8000' is not an address"),
        (SERVER | {"server": "http://127.0.0.1:8000/v1/chat/completions"}, ".server", "the path of one endpoint"),
        (SERVER | {"kind": "reward"}, ".kind", "a server gives no rewards"),
        (SERVER | {"args": {"messages": []}}, ".args.messages", "Tilth sends this itself"),
        (
            SERVER | {"chat_template_kwargs": {"enable_thinking": False}},
            ".chat_template_kwargs",
            "a server has its own chat template",
        ),
        ({"model": "m", "key": "JUDGE_KEY"}, ".key", "a judge without a server has none"),
        ({"model": "m", "on": ["chatt"]}, ".on", "no dataset 'chatt'"),
        ({"model": "m", "on": []}, ".on", "no dataset is named"),
        ({"model": "m", "on": ["feedback"]}, ".on", "'feedback' cannot be judged"),
        ({"model": "m", "on": ["pairs"]}, ".on", "'pairs' cannot be judged"),
        ({"model": "m", "on": ["problems"], "against": "reference"}, ".on", "'problems' cannot be judged"),
        (SERVER | {"on": ["notes"]}, ".on", "'notes' cannot be judged"),
    ],
)
def test_what_cannot_judge_says_why(judge, where, found):
    assert problems(judge) == [(where, found)]


@pytest.mark.parametrize(
    "secret",
    [
        {"key": "sk-hunter2"},
        {"key": "hf_hunter2"},
        {"server": "http://me:hunter2@host/v1"},
        {"server": "http://host/v1?key=hunter2"},
    ],
)
def test_a_secret_in_the_params_is_an_error_that_does_not_repeat_it(secret):
    (problem,) = judge_problems(SERVER | secret, DATASETS)
    assert "hunter2" not in str(problem)


def test_a_judge_with_nothing_to_judge_says_so_of_each_dataset():
    (problem,) = judge_problems(SERVER, {name: DATASETS[name] for name in ("pairs", "feedback", "notes")})
    assert (
        problem.found == "it has nothing to judge"
        and "notes: it is private, and is never sent to a server" in problem.hint
    )


def test_a_model_that_is_not_there_or_may_move_is_found_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [evaluate_problems({"judge": {"model": model}}, DATASETS)[0] for model in ("no/such/folder", "org/model")]
    assert [each.where for each in found] == [
        "params.yaml: evaluate.judge.model",
        "params.yaml: evaluate.judge.revision",
    ]
    assert evaluate_problems({"judge": SERVER}, DATASETS) == []


def test_an_unknown_key_of_a_judge_is_named():
    (problem, *_), _ = (
        schema_problems(
            {"evaluate": {"max_new_tokens": 1, "max_rows": 1, "batch_size": 1, "judge": SERVER | {"timeout": 3}}}
        )[0][-1:],
        None,
    )
    assert problem.where == "params.yaml: evaluate.judge.timeout" and "did you mean 'timeout_s'" in problem.hint


def test_a_key_that_the_environment_has_not_is_a_warning_with_what_to_type(monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    (warning,) = missing_key(SERVER | {"key": "JUDGE_KEY"})
    assert "export JUDGE_KEY=..." in str(warning) and missing_key(SERVER) == missing_key(None) == []
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    assert missing_key(SERVER | {"key": "JUDGE_KEY"}) == []


@pytest.mark.parametrize(
    "judge, on, hint",
    [
        (SERVER, "chat", None),
        (None, "chat", "evaluate.judge says who judges; it is null"),
        (SERVER | {"on": ["judged"]}, "chat", "evaluate.judge.on does not name it"),
        (SERVER, "notes", "it is private, and is never sent to a server (http://127.0.0.1:8000/v1)"),
    ],
)
def test_a_gate_on_a_win_rate_needs_a_judge_of_that_dataset(judge, on, hint):
    gates = [{"step": "sft", "on": on, "metric": "win_rate", "change_low": 0}]
    found = gate_problems(
        {"gates": gates, "datasets": DATASETS, "steps": {"sft": {}}, "evaluate": {"judge": judge}}, []
    )
    assert [each.hint for each in found] == ([hint] if hint else [])


def params(judge, tmp_path):
    builds.write_params(
        {
            "datasets": {"chat": {"kind": "sft", "raw": "x", "private": True}},
            "evaluate": {"max_new_tokens": 4, "max_rows": 10, "batch_size": 10, "judge": judge},
        },
        tmp_path,
    )
    return json.loads((tmp_path / ".build/params/judge.json").read_text())["evaluate"]["judge"]


def test_a_setting_of_how_a_judge_is_asked_brings_no_model_anew(tmp_path):
    here = {"model": "reward", "kind": "reward"}
    assert params(here, tmp_path) == params(here | {"max_rows": 5, "against": "reference"}, tmp_path)
    assert params(SERVER, tmp_path) == {"server": SERVER["server"]} and params(None, tmp_path) is None
    read = json.loads((tmp_path / ".build/params/evaluate_base.json").read_text())
    assert read["datasets"]["chat"]["private"] is True


def test_without_a_model_to_bring_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params(SERVER, tmp_path)
    for _ in range(2):
        stage.main()
    assert {path.name: path.read_text() for path in Path("judge").iterdir()} == {"judge.json": '{"judge": null}\n'}


def test_nobody_judges_unless_asked():
    whole = {
        "seed": 1,
        "launch": "python",
        "eval_fraction": 0.5,
        "base": {"model": "tiny"},
        "datasets": {},
        "steps": {},
        "curate": {},
        "preflight": {},
    }
    found = fill_defaults(whole | {"evaluate": {"max_new_tokens": 1, "max_rows": 1, "batch_size": 1}})
    assert found["evaluate"]["judge"] is None and stage_params.judge_params(found) == {"evaluate": {"judge": None}}


# -- models of real files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    from stages.training.models import save_tiny_model

    folder = tmp_path_factory.mktemp("judges") / "lm"
    save_tiny_model(folder)
    return folder


def labels_of(folder, count, into):
    """The tiny model as one that gives `count` numbers, with random weights."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=count).save_pretrained(into)
    AutoTokenizer.from_pretrained(folder).save_pretrained(into)
    return into


@pytest.mark.slow
def test_a_language_model_and_a_model_of_classes_are_no_reward_models(language_model, tmp_path, monkeypatch):
    classes = labels_of(language_model, 2, tmp_path / "classes")
    monkeypatch.chdir(tmp_path)
    for model, found in ((language_model, "Qwen3ForCausalLM gives no rewards"), (classes, "it has 2 outputs")):
        params({"model": str(model), "kind": "reward"}, tmp_path)
        with pytest.raises(Problems) as error:
            stage.main()
        assert [(each.where, each.found) for each in error.value.problems] == [
            (f"evaluate.judge.model: {model}", found)
        ]
    assert not Path("judge").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chat", "reward"])
def test_a_judge_is_brought_with_its_tokenizer_and_without_pickles(kind, language_model, tmp_path, monkeypatch):
    model = language_model if kind == "chat" else labels_of(language_model, 1, tmp_path / "reward")
    (model / "training_args.bin").write_bytes(b"\x80")
    monkeypatch.chdir(tmp_path)
    params({"model": str(model), "kind": kind}, tmp_path)
    stage.main()
    names = {path.name for path in Path("judge").iterdir()}
    assert {
        "judge.json",
        "config.json",
        "model.safetensors",
        "chat_template.jinja",
    } <= names and "training_args.bin" not in names
    assert json.loads(Path("judge/judge.json").read_text()) == {"judge": kind}
