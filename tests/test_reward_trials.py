"""Reward functions are tried on right and wrong answers before a model learns from them."""

import numpy as np
import pytest

from stages.dryrun import reward_trials as trials
from stages.training.models import load_tokenizer, save_tiny_model
from validators import rewards

TRUTHS = ["cba", "42", "Paris, France", "été", "a b"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return load_tokenizer(folder)


@pytest.fixture
def tried(tokenizer, monkeypatch):
    def tried(function, truths=TRUTHS):
        monkeypatch.setattr(rewards, "tried_function", function, raising=False)
        rows = [{"prompt": [], "ground_truth": truth, "extra": "{}"} for truth in truths]
        names = [f"raw.jsonl:{i}" for i in range(len(truths))]
        (trial,) = trials.try_functions({"rewards": ["tried_function"]}, rows, names, tokenizer, "steps.align")
        return trial

    return tried


def texts(completions):
    return [answer[-1]["content"] for answer in completions]


@pytest.mark.parametrize(
    "truth, changed",
    [
        ("cba", "dba"),
        ("42", "52"),
        ("answer: 9, Zoe", "bnswer: 1, Aoe"),
        ("-3.14", "-4.24"),
        ("été", "x"),
        ("是", "x"),
        ("...", "...x"),
    ],
)
def test_a_corrupted_answer_has_every_word_and_number_changed(truth, changed):
    assert trials.corrupt(truth) == changed


def test_another_rows_answer_is_one_that_differs():
    probes = trials.probe_answers(["yes", "yes", "no"])
    assert probes["other"] == ["no", "no", "yes"]
    assert trials.probe_answers(["yes", "yes "])["other"] == [None, None]


@pytest.mark.slow
def test_a_right_function_gives_the_truth_its_best_and_nothing_else_as_much(tried):
    trial = tried(rewards.exact_match)
    assert trials.underpaid_truths(trial)[0] == 0.0
    assert trials.wrong_shares(trial) == {"corrupted": 0.0, "other": 0.0, "empty": 0.0}
    wrong = (
        "corrupted",
        "other",
        "empty",
        "sprayed",
        "look_alike",
        "long",
        "claimed",
    )  # the prompts are empty: no echo
    assert trials.wrong_answer_gain([trial], [1.0]) == dict.fromkeys(wrong, -1.0)
    assert trials.paid_kinds(trials.hostile_shares(trial)) == []
    assert trials.score_range(trial) == (0.0, 1.0)
    assert trial.again and trial.seconds > 0


@pytest.mark.slow
def test_a_function_that_gives_all_the_same_is_found(tried):
    trial = tried(lambda completions, **_: [0.5] * len(completions))
    assert trials.wrong_shares(trial) == {"corrupted": 1.0, "other": 1.0, "empty": 1.0}
    assert trials.score_range(trial) == (0.5, 0.5)


@pytest.mark.slow
def test_a_function_that_prefers_wrong_answers_is_found(tried):
    trial = tried(lambda completions, **_: [-float(len(text)) for text in texts(completions)])
    assert trials.wrong_answer_gain([trial], [1.0])["empty"] == np.mean([len(truth) for truth in TRUTHS])
    assert trials.wrong_answer_gain([trial], [-1.0])["empty"] < 0


@pytest.mark.slow
def test_a_function_that_asks_whether_the_truth_is_in_the_answer_pays_for_hostile_ones(tried):
    trial = tried(
        lambda completions, ground_truth, **_: [
            float(truth in text) for text, truth in zip(texts(completions), ground_truth, strict=True)
        ]
    )
    assert trials.paid_kinds(trials.hostile_shares(trial)) == ["repeated", "wrapped", "sprayed"]
    assert not trials.judges_form_only(trial)


@pytest.mark.slow
def test_a_function_of_length_alone_judges_the_form_alone(tried):
    trial = tried(lambda completions, **_: [float(len(text) > 0) for text in texts(completions)])
    assert trials.judges_form_only(trial)


@pytest.mark.slow
def test_a_truth_that_gets_less_than_the_best_is_found(tried):
    trial = tried(rewards.numeric_match)
    share, below = trials.underpaid_truths(trial)
    assert (share, below.tolist()) == (0.8, [0, 2, 3, 4])


@pytest.mark.slow
def test_a_function_that_does_not_apply_is_not_wrong(tried):
    trial = tried(
        lambda completions, ground_truth, **_: [
            None if text == "" else float(text == truth)
            for text, truth in zip(texts(completions), ground_truth, strict=True)
        ]
    )
    assert trials.wrong_shares(trial)["empty"] == 0.0
    assert "empty" not in trials.wrong_answer_gain([trial], [1.0])


@pytest.mark.slow
def test_a_function_that_answers_by_chance_is_found(tried):
    values = iter(np.linspace(0, 1, 1000))
    assert not tried(lambda completions, **_: [next(values) for _ in completions]).again


@pytest.mark.slow
def test_functions_are_called_in_batches_of_a_trainings_size(tried):
    sizes = []

    def watched(completions, **_):
        sizes.append(len(completions))
        return [1.0] * len(completions)

    tried(watched, truths=[str(i) for i in range(10, 110)])
    # the truth twice, three wrong answers and six hostile ones; of the numbers that hold one another some have no long one
    assert max(sizes) == trials.BATCH and 1000 < sum(sizes) <= 1100


def test_a_sample_is_spread_over_the_file_and_named(tmp_path):
    from stages.rows.tables import row_schema, to_table, write_table

    rows = [
        {"prompt": [{"role": "user", "content": str(i)}], "ground_truth": str(i), "extra": "{}", "id": str(i), "source": "r", "line": i}
        for i in range(3000)
    ]  # fmt: skip
    write_table(tmp_path / "p.parquet", to_table(rows, row_schema("grpo")))
    taken, names = trials.sample_rows(tmp_path / "p.parquet", 4)
    assert [row["ground_truth"] for row in taken] == ["0", "999", "1999", "2999"]
    assert names == ["r:0", "r:999", "r:1999", "r:2999"]
    assert len(trials.sample_rows(tmp_path / "p.parquet", 5000)[0]) == 3000
