"""What GRPO generates in training is kept, a bounded part of it, with what was paid; a resumed run keeps the same."""

import pyarrow.parquet as pq
import pytest
from test_seen import PROBLEMS, base, made  # noqa: F401
from test_tokens import step_of

from stages.training import rollouts
from stages.training.resume import resume_training, save_checkpoints

KEPT = {"rollouts": {"every": 1, "max_rows": 100}, "rewards": ["exact_match", "one_word"], "optimizer_steps": 3}


@pytest.mark.parametrize(
    "wanted, steps, together, most, every",
    [(10, 100, 8, 5000, 10), (10, 5000, 8, 400, 100), (1, 3, 2, 100, 1), (10, 100, 64, 32, 100), (10, 101, 10, 100, 11)],
)
def test_generations_are_as_far_apart_as_the_rows_allow(wanted, steps, together, most, every):
    assert rollouts.spacing(wanted, steps, together, most) == every
    assert -(-steps // every) * together <= max(most, together)


def test_tool_calls_in_between_are_kept_as_messages():
    assert rollouts.said("a") == rollouts.said([{"role": "assistant", "content": "a"}]) == "a"
    assert rollouts.said([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]).startswith('[{"role"')


def trained(tmp_path, kept=KEPT, **args):
    """A trainer of the step with what it keeps; it has trained."""
    trainer = made("grpo", tmp_path, **args)
    step = step_of("grpo", **args) | kept
    ids = [f"id{i}" for i in range(len(trainer.train_dataset))]
    return rollouts.keep_rollouts(trainer, step, ids), step


def written(trainer, step):
    rollouts.write_rollouts(rollouts.rollouts_path("s"), trainer, step, "5f0e")
    return rollouts.read_rollouts(rollouts.rollouts_path("s"))


@pytest.mark.slow
def test_every_answer_has_its_prompt_its_rewards_and_its_advantage(base, tmp_path):  # noqa: F811
    kept = KEPT | {"rewards": ["exact_match"]}
    trainer, step = trained(tmp_path, kept)
    given = []
    calculate = trainer._calculate_rewards

    def watched(inputs, prompts, completions, ids):
        found = calculate(inputs, prompts, completions, ids)
        given.extend(zip([row["prompt"][0]["content"] for row in inputs], completions, found.tolist(), strict=True))
        return found

    trainer._calculate_rewards = watched
    trainer.train()
    rows, facts = written(trainer, step)
    assert [(PROBLEMS[int(row["id"][2:])]["prompt"][0]["content"], row["completion"], [row["reward/exact_match"]]) for row in rows] == [
        (prompt, completion[0]["content"], paid) for prompt, completion, paid in given
    ]
    assert [row["step"] for row in rows] == [0, 0, 1, 1, 2, 2] and [row["group"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert all(row["reward"] == row["reward/exact_match"] and row["tokens"] > 0 and row["ground_truth"] == "a" for row in rows)
    assert all(row["advantage"] == 0 for row in rows if len({one["reward"] for one in rows if one["group"] == row["group"]}) == 1)
    assert facts == {"step": step["step"], "dataset": step["dataset"], "rows_sha256": "5f0e", "every": 1, "functions": ["exact_match"]}


@pytest.mark.slow
def test_a_resumed_run_keeps_the_same_as_one_that_was_not_killed(base, tmp_path, monkeypatch):  # noqa: F811
    kept = KEPT | {"rewards": ["exact_match"], "rollouts": {"every": 2, "max_rows": 100}, "optimizer_steps": 4}
    args = {"max_steps": 4, "logging_steps": 1, "save_steps": 1}
    whole, step = trained(tmp_path, kept, **args)
    whole.train()
    expected = written(whole, step)
    assert [row["step"] for row in expected[0]] == [0, 0, 2, 2]

    class Killed(BaseException):
        pass

    first, _ = trained(tmp_path, kept, **args)
    train_step = first.training_step

    def kill(*arguments, **options):
        if first.state.global_step == 3:
            raise Killed
        return train_step(*arguments, **options)

    first.training_step = kill
    with pytest.raises(Killed):
        save_checkpoints(first, every_s=0).train()
    again, _ = trained(tmp_path, kept, **args)
    resume_training(save_checkpoints(again, every_s=0), tmp_path / ".work")
    assert again.state.global_step == 4 and written(again, step) == expected


@pytest.mark.slow
def test_a_step_that_keeps_none_has_an_empty_file(base, tmp_path):  # noqa: F811
    trainer, step = trained(tmp_path, KEPT | {"rollouts": None})
    assert not hasattr(trainer, "rollouts")
    rows, facts = written(trainer, step)
    assert rows == [] and facts["every"] == 0
    assert "reward/one_word" in pq.read_schema(rollouts.rollouts_path("s")).names
