"""Scores are what their names say, computed here a second way."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages import evaluate
from stages._models import load_model, load_tokenizer, save_tiny
from validators._problems import Problems

ROWS = [
    {"prompt": [{"role": "user", "content": question}], "chosen": [{"role": "assistant", "content": answer}]}
    for question, answer in [
        ("Reverse abc.", "cba"),
        ("Sort ba.", "It is ab."),
        ("x", "a longer answer than the others"),
    ]
]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    save_tiny(folder)
    return SimpleNamespace(
        model=load_model(folder), tokenizer=load_tokenizer(folder), device="cpu", batch_size=2, max_new_tokens=5
    )


def test_mean_logp_is_that_of_each_row_alone(scored):
    found = evaluate.mean_logp(scored, ROWS, "chosen").to_pylist()
    for row, value in zip(ROWS, found, strict=True):
        prompt = evaluate.render(scored.tokenizer, row["prompt"], add_generation_prompt=True)
        whole = evaluate.render(scored.tokenizer, row["prompt"] + row["chosen"])
        with torch.inference_mode():
            logp = torch.log_softmax(scored.model(torch.tensor([whole])).logits[0], -1)
        expected = np.mean([logp[i - 1, whole[i]].item() for i in range(len(prompt), len(whole))])
        assert value == pytest.approx(expected, abs=1e-4)


def test_sft_scores_count_only_what_the_assistant_says(scored):
    rows = [{"messages": ROWS[0]["prompt"] + ROWS[0]["chosen"], "tools": None}]
    columns = evaluate.sft_scores(scored, rows)
    assert columns["tokens"].to_pylist() == [len("cba") + 1]  # the end of the turn is learned too
    assert 0 <= columns["right"].to_pylist()[0] <= 4


def test_generation_of_a_batch_is_that_of_each_prompt_alone(scored):
    prompts = [row["prompt"] for row in ROWS]
    together = evaluate.generate(scored, prompts)
    assert together == [evaluate.generate(scored, [prompt])[0] for prompt in prompts]


def test_a_pair_is_won_by_the_higher_mean(scored):
    columns = {"chosen_logp": np.array([-1.0, -2.0, -1.0, -3.0]), "rejected_logp": np.array([-2.0, -1.0, -1.0, -4.0])}
    found = evaluate.metrics("preference", columns, None, {}, 4, seed=1)
    assert found["pair_accuracy"]["value"] == 0.625
    assert found["margin"]["value"] == 0.25
    assert found["margin"]["change"] is None


def test_the_change_is_against_the_parents_scores_of_the_same_rows():
    ours, theirs = {"logp": np.array([1.0, 0.0] * 20), "label": np.array([1.0, 0.0] * 20)}, None
    theirs = ours | {"logp": np.array([0.0, 1.0] * 20)}
    found = evaluate.metrics("kto", ours, theirs, {}, 40, seed=1)["auc"]
    assert (found["value"], found["change"], found["change_low"]) == (1.0, 1.0, 1.0)


def test_the_reward_is_the_weighted_sum_and_none_counts_as_nothing():
    columns = {"reward/a": np.array([1.0, np.nan]), "reward/b": np.array([0.0, 1.0])}
    found = evaluate.metrics("grpo", columns, None, {"a": 1.0, "b": 0.5}, 2, seed=1)
    assert found["reward"]["value"] == 0.75
    assert found["reward/a"]["value"] == 0.5


def test_a_parent_scored_on_other_rows_is_an_error():
    import pyarrow as pa

    parent = pa.table({"dataset": ["pairs"], "id": ["b"], "chosen_logp": [1.0]})
    with pytest.raises(Problems, match="scored on other rows"):
        evaluate.columns_of(parent, "pairs", ["a"], {"chosen_logp": None})


@pytest.mark.slow
def test_every_model_is_scored_on_every_eval_row_with_its_generation(built):
    scores = json.loads((built.folder / "scores/align.json").read_text())
    assert set(scores) == {"chat", "pairs", "feedback", "problems"}
    table = pq.read_table(built.folder / "scores/align.parquet").to_pylist()
    assert {row["dataset"] for row in table if row["generation"] is not None} == {"chat", "problems"}
    for dataset, metrics in scores.items():
        ids = [row["id"] for row in table if row["dataset"] == dataset]
        assert ids == sorted(ids) and len(ids) == next(iter(metrics.values()))["n"]
        assert all(item["low"] <= item["value"] <= item["high"] for item in metrics.values())
