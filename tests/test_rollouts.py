"""What GRPO generates in training is kept, a bounded part of it, with what was paid; a resumed run keeps the same."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_exposure import PROBLEMS, base, made  # noqa: F401
from test_token_counts import step_of

from commands.builds.git import Missing
from commands.records import forgotten
from commands.records import rollouts as records
from commands.trace import model_lines
from stages.reporting.rollouts import rollout_summary
from stages.training import rollouts
from stages.training.checkpoints import resume_training, save_checkpoints

KEPT = {"rollouts": {"every": 1, "max_rows": 100}, "rewards": ["exact_match", "one_word"], "optimizer_steps": 3}


@pytest.mark.parametrize(
    "wanted, steps, together, most, every",
    [
        (10, 100, 8, 5000, 10),
        (10, 5000, 8, 400, 100),
        (1, 3, 2, 100, 1),
        (10, 100, 64, 32, 100),
        (10, 101, 10, 100, 11),
    ],
)
def test_generations_are_as_far_apart_as_the_rows_allow(wanted, steps, together, most, every):
    assert rollouts.rollout_interval(wanted, steps, together, most) == every
    assert -(-steps // every) * together <= max(most, together)


def test_tool_calls_in_between_are_kept_as_messages():
    assert rollouts.completion_text("a") == rollouts.completion_text([{"role": "assistant", "content": "a"}]) == "a"
    assert rollouts.completion_text(
        [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
    ).startswith('[{"role"')


def test_a_trainer_of_another_make_trains_without_rollouts_and_says_so(capsys):
    trainer = SimpleNamespace(_calculate_rewards=None)
    assert rollouts.keep_rollouts(trainer, KEPT | {"step": "align"}, []) is trainer and not hasattr(trainer, "rollouts")
    assert (
        "train align: cannot keep rollouts: SimpleNamespace has no _generate_and_score_completions"
        in capsys.readouterr().out
    )


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
    assert [
        (PROBLEMS[int(row["id"][2:])]["prompt"][0]["content"], row["completion"], [row["reward/exact_match"]])
        for row in rows
    ] == [(prompt, completion[0]["content"], paid) for prompt, completion, paid in given]
    assert [row["step"] for row in rows] == [0, 0, 1, 1, 2, 2] and [row["group"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert all(
        row["reward"] == row["reward/exact_match"] and row["tokens"] > 0 and row["ground_truth"] == "a" for row in rows
    )
    assert all(
        row["advantage"] == 0
        for row in rows
        if len({one["reward"] for one in rows if one["group"] == row["group"]}) == 1
    )
    assert facts == {
        "step": step["step"],
        "dataset": step["dataset"],
        "rows_sha256": "5f0e",
        "every": 1,
        "functions": ["exact_match"],
    }


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


# -- shown ------------------------------------------------------------------------------------------------------------


def answer(step, group, said, reward, truth="cba", id="a" * 64):
    paid = {"reward/one_word": reward, "reward": reward, "advantage": 0.0}
    return {
        "step": step,
        "group": group,
        "id": id,
        "completion": said,
        "tokens": len(said),
        "cut": False,
        "cut_thinking": said == "worse",
        "ground_truth": truth,
    } | paid


ROWS = [
    answer(0, 0, "x y", 0.0), answer(0, 0, "cba", 1.0), answer(0, 1, "bad", 1.0), answer(0, 1, "bad", 1.0),
    answer(10, 2, "A: cba", 0.5), answer(10, 2, "worse", 0.75), answer(10, 3, "cba", 1.0, id="b" * 64), answer(10, 3, "cba", 1.0, id="b" * 64),
]  # fmt: skip


def put(rows):
    """The rollouts of a step `align`, as `train` writes them."""
    facts = {"step": "align", "dataset": "problems", "rows_sha256": "5f", "every": 10, "functions": ["one_word"]}
    table = pa.Table.from_pylist(rows, rollouts.rollout_schema(["one_word"])).replace_schema_metadata(
        {"tilth": json.dumps(facts)}
    )
    Path("scores").mkdir(exist_ok=True)
    pq.write_table(table, rollouts.rollouts_path("align"))


def test_the_page_has_means_groups_without_signal_and_what_is_paid_and_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rollout_summary("align") is None
    put([])
    assert rollout_summary("align") is None
    put(ROWS)
    found = rollout_summary("align")
    assert (found["answers"], found["groups"], found["silent"], found["half"]) == (8, 4, 2, 10)
    assert found["functions"] == [{"name": "one_word", "early": "0.750", "late": "0.812"}]
    assert found["lengths"] == {"p50": 3, "p95": 5, "max": 6}
    # A: cba is right, as exact_match reads it; x y is paid the least
    assert [(cheat["said"]["text"], cheat["reward"], cheat["step"]) for cheat in found["cheats"]] == [
        ("bad", "1", 0),
        ("worse", "0.75", 10),
    ]


def test_answers_that_training_cut_are_counted_by_where_they_were_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(ROWS)
    assert rollout_summary("align")["cut"] == "1 cut while thinking"
    put([ROWS[0] | {"cut": True}, *ROWS])
    assert rollout_summary("align")["cut"] == "1 cut, 1 cut while thinking"
    put(ROWS[:2])
    assert rollout_summary("align")["cut"] == ""


def test_where_all_are_paid_the_same_nobody_cheats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put([answer(0, 0, "x", 1.0), answer(0, 0, "y", 1.0)])
    assert rollout_summary("align")["cheats"] == []


def test_a_prompt_has_its_rollouts_in_the_order_of_the_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(ROWS)
    monkeypatch.setattr(records, "file_of", lambda build, path: Path(path))
    build, problems = SimpleNamespace(steps={"sft": {"method": "sft"}, "align": {"method": "grpo"}}), []
    found = records.rollouts_of(build, {"b" * 64, "c" * 64}, problems)
    assert list(found) == ["b" * 64] and [row["completion"] for row in found["b" * 64]["align"]] == ["cba", "cba"]
    assert records.rollouts_of(build, set(), problems) == {} and problems == []
    rollouts.rollouts_path("align").write_bytes(b"cut")
    assert records.rollouts_of(build, {"b" * 64}, problems) == {} and len(problems) == 1


def test_answers_to_a_forgotten_prompt_are_a_break(tmp_path, monkeypatch):
    def there(build, path):
        if not Path(path).exists():
            raise Missing([])
        return Path(path)

    monkeypatch.chdir(tmp_path)
    put(ROWS)
    monkeypatch.setattr(forgotten, "file_of", there)
    build = SimpleNamespace(steps={"align": {"method": "grpo"}}, params={})
    (problem,) = forgotten.score_problems(build, [SimpleNamespace(id="b" * 64)])
    assert (
        problem.where == "scores/align.rollouts.parquet"
        and "has answers to the forgotten record bbbbbbbbbbbb…" in problem.found
    )
    assert forgotten.score_problems(build, [SimpleNamespace(id="c" * 64)]) == []


def test_trace_shows_the_best_and_the_worst_answer_of_a_prompt():
    item = {
        "models": [],
        "side": "train",
        "dataset": "problems",
        "scores": None,
        "rollouts": {"align": [row for row in ROWS if row["step"] == 0]},
    }
    lines = [" ".join(line.split()) for line in model_lines(item, 100)]
    assert lines[-3:] == [
        "rollouts align: 4 answers of its training are kept, reward 0.750 on average",
        "step 0, reward 1: cba",
        "step 0, reward 0: x y",
    ]
