"""Gates before training: what cannot be trained is named, and nothing that depends on the machine is written."""

import json

import pytest

from stages import preflight
from stages._models import load_tokenizer, save_tiny
from validators._problems import Problems


@pytest.fixture
def tokenizer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny("models/base")
    return load_tokenizer()


def turns(*texts):
    return [
        {"role": role, "content": text, "tool_calls": None}
        for role, text in zip(["user", "assistant"] * 4, texts, strict=False)
    ]


def test_learned_tokens_of_sft_are_the_answers_and_their_ends(tokenizer):
    prompts, learned = preflight.lengths(
        [{"messages": turns("ab", "xyz"), "tools": None}], "sft", tokenizer, "steps.sft"
    )
    assert (prompts.tolist(), learned.tolist()) == ([5], [4])


def test_a_row_without_an_answer_stops_the_build(tokenizer):
    with pytest.raises(Problems, match="train row 0 has no token to learn from"):
        preflight.lengths([{"messages": turns("ab"), "tools": None}], "sft", tokenizer, "steps.sft")


def test_a_template_that_leaves_the_end_unlearned_stops_the_build(tokenizer):
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ '<|end|>' }}{% endgeneration %}", "{% endgeneration %}{{ '<|end|>' }}"
    )
    with pytest.raises(Problems, match="the end of the answer is not learned"):
        preflight.lengths([{"messages": turns("ab", "xyz"), "tools": None}], "sft", tokenizer, "steps.sft")


def test_the_longer_answer_of_a_pair_counts(tokenizer):
    row = {"prompt": turns("ab"), "chosen": turns("", "x")[1:], "rejected": turns("", "wxyz")[1:]}
    prompts, learned = preflight.lengths([row], "dpo", tokenizer, "steps.dpo")
    assert (prompts.tolist(), learned.tolist()) == ([5], [5])


def test_a_step_holds_the_reward_code_only_if_it_is_grpo():
    params = {"seed": 7, "base": {"backend": "auto"}}
    grpo = {"method": "grpo", "from": "sft", "dataset": "problems", "rewards": ["exact_match"]}
    sft = {"method": "sft", "from": "base", "dataset": "chat", "waive": {"beta": "no"}}
    assert len(preflight.resolve("a", grpo, params)["reward_code"]) == 64
    assert "reward_code" not in preflight.resolve("a", sft, params)
    assert "waive" not in preflight.resolve("a", sft, params)


def test_rewards_are_scored_with_the_weights_of_the_step_that_trains_on_them():
    datasets = {"problems": {"kind": "grpo"}, "others": {"kind": "grpo"}, "chat": {"kind": "sft"}}
    step = {
        "method": "grpo",
        "dataset": "problems",
        "rewards": ["exact_match", "one_word"],
        "args": {"reward_weights": [1.0, 0.2]},
    }
    assert preflight.scored_rewards({"a": step}, datasets) == {
        "problems": {"exact_match": 1.0, "one_word": 0.2},
        "others": {"exact_match": 1.0},
    }


@pytest.mark.slow
def test_optimizer_steps_are_those_that_trl_takes(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "copy")
    monkeypatch.chdir(project.folder)
    from stages import train

    params = project.read_params()
    for method in ("sft", "grpo"):
        args = dict(params["methods"][method]["args"]) | {"num_train_epochs": 1}
        del args["max_steps"]
        params["steps"]["align"] = params["methods"][method] | {"args": args}
        project.write_params(params)
        preflight.main()
        announced = json.loads((project.folder / "preflight/align.json").read_text())["optimizer_steps"]
        trainer = train.make_trainer(
            "align",
            json.loads((project.folder / "preflight/align.json").read_text()) | {"backend": "transformers"},
            tmp_path / "work",
        )
        assert trainer.train().global_step == announced


@pytest.mark.slow
def test_args_that_trl_refuses_are_named_for_all_steps_at_once(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "copy")
    monkeypatch.chdir(project.folder)
    params = project.read_params()
    params["steps"]["align"] = params["methods"]["grpo"] | {"args": {"num_generations": 7}}
    params["steps"]["sft"] = params["methods"]["sft"] | {"args": {"max_length": 2}}
    project.write_params(params)
    with pytest.raises(Problems) as error:
        preflight.main()
    assert {problem.where for problem in error.value.problems} == {"steps.sft", "steps.align"}
