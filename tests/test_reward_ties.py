"""A GRPO training whose first prompts teach nothing is stopped before it begins, and one that goes on is not changed by the look."""

import json
import random

import numpy as np
import pytest
import torch
from test_token_counts import base, step_of, user, write  # noqa: F401

from stages import train
from stages.training import reward_ties
from validators import rewards
from validators.problems import Problems

pytestmark = pytest.mark.slow

ARGS = {"num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 6}


@pytest.fixture
def trainer(base, tmp_path, monkeypatch):  # noqa: F811
    """A GRPO trainer with a reward function of its own, and its step."""
    (tmp_path / "data/train").mkdir(parents=True)
    write("grpo", [{"prompt": user(f"say {i}"), "ground_truth": str(i), "extra": "{}"} for i in range(20)])

    def trainer(*functions, **changes):
        for i, function in enumerate(functions):
            monkeypatch.setattr(rewards, f"f{i}", function, raising=False)
        args = ARGS | changes.pop("args", {})
        step = (
            step_of("grpo", **args) | {"rewards": [f"f{i}" for i in range(len(functions))], "tie_prompts": 6} | changes
        )
        return train.make_trainer("s", step, tmp_path / ".work"), step

    return trainer


def nothing(completions, **_):
    return [0.0] * len(completions)


def length(completions, **_):
    return [float(len(answer[-1]["content"])) for answer in completions]


def test_prompts_whose_answers_all_earn_the_same_stop_the_training(trainer):
    with pytest.raises(Problems) as error:
        reward_ties.stop_if_rewards_tie(*trainer(nothing))
    (problem,) = error.value.problems
    assert problem.where == "steps.s: preflight.rewards_tie"
    assert problem.found.startswith("all 4 answers to each of 6 prompts earn the same; the first, ")
    assert problem.found.endswith(", earns 0")


def test_answers_that_differ_let_it_go_on(trainer):
    assert reward_ties.stop_if_rewards_tie(*trainer(length)) is None


def test_train_stops_before_it_learns(trainer, tmp_path):
    _, step = trainer(nothing)
    (tmp_path / "preflight").mkdir()
    (tmp_path / "preflight/s.json").write_text(
        json.dumps(step | {"trained_rows": 20, "sequences": 20}), encoding="utf-8"
    )
    with pytest.raises(Problems, match=r"preflight\.rewards_tie"):
        train.main("s")
    assert not (tmp_path / "models/s").exists()


def test_one_function_that_tells_answers_apart_is_enough(trainer):
    assert reward_ties.stop_if_rewards_tie(*trainer(nothing, length)) is None


def test_a_function_of_no_weight_tells_nothing(trainer):
    made = trainer(nothing, length, args={"reward_weights": [1.0, 0.0]})
    with pytest.raises(Problems, match="earn the same"):
        reward_ties.stop_if_rewards_tie(*made)


def test_a_function_that_never_applies_tells_nothing(trainer):
    with pytest.raises(Problems, match="earn the same"):
        reward_ties.stop_if_rewards_tie(*trainer(lambda completions, **_: [None] * len(completions)))


def test_no_prompts_is_no_look(trainer):
    made, step = trainer(nothing, tie_prompts=0)
    assert reward_ties.stop_if_rewards_tie(made, step) is None


@pytest.mark.parametrize("sharded", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_a_model_in_pieces_is_not_asked(trainer, sharded, capsys):
    made, step = trainer(nothing)
    setattr(made, sharded, True)
    assert reward_ties.stop_if_rewards_tie(made, step) is None
    assert "skipped the check for tied rewards" in capsys.readouterr().out


def test_a_function_that_fails_on_what_the_model_says_is_named(trainer):
    with pytest.raises(Problems, match="f0 returned 1 values for 8 answers"):
        reward_ties.stop_if_rewards_tie(*trainer(lambda completions, **_: [1.0]))


def test_the_look_is_the_same_every_time_and_leaves_everything_as_it_was(trainer):
    said = []

    def remembered(completions, **_):
        said.append([answer[-1]["content"] for answer in completions])
        return [0.0] * len(completions)

    made, step = trainer(remembered)
    made.model.train()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    for _ in range(2):
        with pytest.raises(Problems):
            reward_ties.stop_if_rewards_tie(made, step)
    assert len(said) == 6 and said[:3] == said[3:]
    assert len({text for batch in said for text in batch}) > 1
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert made.model.training


def test_a_training_after_the_look_is_the_training_without_it(trainer):
    weights = []
    for look in (True, False):
        made, step = trainer(length, args={"max_steps": 2, "learning_rate": 1e-3})
        if look:
            reward_ties.stop_if_rewards_tie(made, step)
        made.train()
        weights.append(torch.cat([weight.detach().flatten() for weight in made.model.parameters()]))
    assert torch.equal(*weights)
