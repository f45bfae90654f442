"""Scores are what their names say, computed here a second way."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import evaluate
from stages.scoring import answers, dataset_metrics, generation
from stages.scoring.statistics import describe_interval
from stages.training.models import save_tiny_model
from stages.training.trainer_rows import scoring_input
from validators.problems import Problems

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
    save_tiny_model(folder)
    return generation.load_for_generation(folder, batch_size=2, max_new_tokens=5)


@pytest.mark.slow
def test_mean_logp_is_that_of_each_row_alone(scored):
    import torch

    pairs = [scored.render.answer(row["prompt"], row["chosen"]) for row in ROWS]
    found = answers.mean_logp(scored, pairs).to_pylist()
    for row, value in zip(ROWS, found, strict=True):
        prompt, whole = (
            scored.tokenizer.apply_chat_template(talk, add_generation_prompt=asked, return_dict=True)["input_ids"]
            for talk, asked in ((row["prompt"], True), (row["prompt"] + row["chosen"], False))
        )
        with torch.inference_mode():
            logp = torch.log_softmax(scored.model(torch.tensor([whole])).logits[0], -1)
        expected = np.mean([logp[i - 1, whole[i]].item() for i in range(len(prompt), len(whole))])
        assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_sft_scores_count_only_what_the_assistant_says(scored):
    rows = [{"messages": ROWS[0]["prompt"] + ROWS[0]["chosen"], "tools": None}]
    columns = answers.sft_scores(scored, [scoring_input("sft", row, scored.render) for row in rows])
    assert columns["tokens"].to_pylist() == [len("cba") + 1]  # the end of the turn is learned too
    assert 0 <= columns["right"].to_pylist()[0] <= 4


def test_answers_that_were_cut_are_counted_beside_what_is_measured_of_them():
    columns = {name: pa.array([1.0, 1.0, 1.0]) for name in ("nll", "tokens", "right")} | {
        "exact_match": pa.array([1.0, 0.0, 1.0])
    }
    flags = {"cut": pa.array([True, False, True]), "cut_thinking": pa.array([False, False, False])}
    found = dataset_metrics.metrics("sft", columns | flags, None, {}, 3, seed=1, options={}, own=["exact_match"])
    assert found["exact_match"]["cut"] == 2 and "cut" not in found["loss"] and "finished" not in found["exact_match"]
    assert (
        evaluate.describe_metric("exact_match", found["exact_match"])
        == "exact_match 0.667 (2 of 3 answers cut at max_new_tokens)"
    )


@pytest.mark.parametrize(("texts", "note"), [
    (["10"] * 9 + ["7"], " (9 of 10 answers are '10')"), (["10"] * 5 + [*"12345"], " (5 of 10 answers are '10')"), (["10"] * 4 + [*"123456"], ""), (["10"] * 9, ""),
])  # fmt: skip
def test_a_model_that_says_one_thing_to_all_is_told(texts, note):
    ones = pa.array([1.0] * len(texts))
    columns = dict.fromkeys(("nll", "tokens", "right", "exact_match"), ones)
    columns |= {name: pa.array([False] * len(texts)) for name in ("cut", "cut_thinking")} | {
        "generation": pa.array(texts)
    }
    found = dataset_metrics.metrics("sft", columns, None, {}, len(texts), seed=1, options={}, own=["exact_match"])
    assert evaluate.describe_metric("exact_match", found["exact_match"]) == "exact_match 1.000" + note
    assert "alike" not in found["loss"]


def test_answers_that_were_cut_while_thinking_are_counted_apart_with_what_the_others_are_worth(capsys):
    columns = {name: pa.array([1.0, 1.0, 1.0]) for name in ("nll", "tokens", "right")} | {
        "exact_match": pa.array([1.0, 0.0, 0.0])
    }
    flags = {"cut": pa.array([False, False, False]), "cut_thinking": pa.array([False, True, False])}
    found = dataset_metrics.metrics("sft", columns | flags, None, {}, 3, seed=1, options={}, own=["exact_match"])
    item = found["exact_match"]
    assert (item["cut"], item["cut_thinking"], item["finished"], item["value"]) == (0, 1, 0.5, 0.333333)
    assert (
        evaluate.describe_metric("exact_match", item)
        == "exact_match 0.333 (1 of 3 answers cut while thinking, 0.500 of the others)"
    )
    evaluate.print_cut_thinking("sft", "chat", found)
    assert "evaluate sft: chat: 1 of 3 answers were cut while thinking, and say nothing" in capsys.readouterr().out
    evaluate.print_cut_thinking("sft", "chat", {"loss": {"value": 1.0}})
    assert capsys.readouterr().out == ""


def test_of_samples_the_count_is_of_all_that_were_drawn():
    columns = {"reward/a": pa.array([0.0, 0.0]), "passed/a": pa.array([1, 0]), "samples_cut_thinking": pa.array([1, 2])}
    found = dataset_metrics.metrics(
        "grpo", columns, None, {"a": 1.0}, 2, seed=1, options={"pass_at_k": [1], "samples": 4}
    )
    assert (found["pass@1/a"]["cut_thinking"], found["pass@1/a"]["answers"]) == (3, 8)
    assert "3 of 8 answers cut while thinking" in evaluate.describe_metric("pass@1/a", found["pass@1/a"])


@pytest.mark.slow
def test_a_pair_is_won_by_the_higher_mean(scored):
    columns = {"chosen_logp": np.array([-1.0, -2.0, -1.0, -3.0]), "rejected_logp": np.array([-2.0, -1.0, -1.0, -4.0])}
    found = dataset_metrics.metrics("preference", columns, None, {}, 4, seed=1, options={})
    assert found["pair_accuracy"]["value"] == 0.625
    assert found["margin"]["value"] == 0.25
    assert found["margin"]["change"] is None


def test_the_change_is_against_the_parents_scores_of_the_same_rows():
    ours, theirs = {"logp": np.array([1.0, 0.0] * 20), "label": np.array([1.0, 0.0] * 20)}, None
    theirs = ours | {"logp": np.array([0.0, 1.0] * 20)}
    found = dataset_metrics.metrics("kto", ours, theirs, {}, 40, seed=1, options={})["auc"]
    assert (found["value"], found["change"], found["change_low"]) == (1.0, 1.0, 1.0)


def test_the_reward_is_the_weighted_sum_and_none_counts_as_nothing():
    columns = {"reward/a": np.array([1.0, np.nan]), "reward/b": np.array([0.0, 1.0])}
    found = dataset_metrics.metrics("grpo", columns, None, {"a": 1.0, "b": 0.5}, 2, seed=1, options={"pass_at_k": None})
    assert found["reward"]["value"] == 0.75
    assert found["reward/a"]["value"] == 0.5


@pytest.mark.parametrize("passed, k", [(0, 1), (3, 1), (3, 4), (6, 4), (8, 4), (1, 8)])
def test_pass_at_k_is_the_share_of_all_draws_of_k_that_hold_a_right_answer(passed, k):
    from itertools import combinations

    draws = list(combinations([True] * passed + [False] * (8 - passed), k))
    expected = sum(any(draw) for draw in draws) / len(draws)
    assert dataset_metrics.pass_at_k([passed], 8, k) == pytest.approx([expected])


def test_pass_at_k_is_a_metric_of_each_reward_function_like_any_other():
    options = {"pass_at_k": [1, 2], "samples": 4}
    ours = {"reward/a": np.zeros(40), "passed/a": np.array([4.0, 0.0] * 20)}
    found = dataset_metrics.metrics(
        "grpo", ours, ours | {"passed/a": np.zeros(40)}, {"a": 1.0}, 40, seed=1, options=options
    )
    assert set(found) == {"reward", "reward/a", "pass@1/a", "pass@2/a"}
    item = found["pass@2/a"]
    assert (item["value"], item["change"], item["n"]) == (0.5, 0.5, 40)
    assert item["low"] < 0.5 < item["high"] and item["change_low"] > 0


def test_an_answer_passes_where_a_function_gives_full_marks():
    rows = [
        {"prompt": row["prompt"], "ground_truth": truth, "extra": None} for row, truth in zip(ROWS, "abc", strict=True)
    ]
    drawn = [["a", "a", "x", "a"], ["x", "y", "z", "b"], ["x", "x", "x", "x"]]
    assert evaluate.count_passed(drawn, rows, {"exact_match": 1.0})["passed/exact_match"].to_pylist() == [3, 1, 0]


def test_a_metric_without_a_value_is_told_as_such():
    assert evaluate.describe_metric("auc", {"value": None}) == "auc none"
    assert evaluate.describe_metric("auc", {"value": 0.5}) == "auc 0.500"


def test_a_parent_scored_on_other_rows_is_an_error():
    import pyarrow as pa

    parent = pa.table({"dataset": ["pairs"], "id": ["b"], "chosen_logp": [1.0]})
    with pytest.raises(Problems, match="scored on other rows"):
        dataset_metrics.parent_columns(parent, "pairs", ["a"], {"chosen_logp": None})


@pytest.mark.slow
def test_every_model_is_scored_on_every_eval_row_with_its_generation(built):
    scores = json.loads((built.folder / "scores/align.json").read_text())
    assert set(scores) == {"chat", "pairs", "feedback", "problems"}
    table = pq.read_table(built.folder / "scores/align.parquet").to_pylist()
    assert {row["dataset"] for row in table if row["generation"] is not None} == {"chat", "problems"}
    for dataset, metrics in scores.items():
        ids = [row["id"] for row in table if row["dataset"] == dataset]
        assert ids == sorted(ids) and len(ids) == next(iter(metrics.values()))["n"]
        known = [item for item in metrics.values() if item["low"] is not None]
        assert all(item["low"] <= item["value"] <= item["high"] for item in known)
        assert all(item in known or "too few rows" in describe_interval(item) for item in metrics.values())


@pytest.mark.slow
def test_another_dataset_is_measured_alone_and_an_edit_of_what_scores_loads_no_model(built, tmp_path):
    project = built.copy(tmp_path / "copy")
    project.edit("stages/scoring/statistics.py", "FEW_ROWS = 20", "FEW_ROWS = 5")
    told = project.run("dvc", "repro", "evaluate@align")
    assert told.count("; no model is loaded") == 3 and "Running stage 'train" not in told
    before = pq.read_table(project.folder / "scores/align.parquet")
    params = project.read_params()
    lines = (project.folder / "data/raw/feedback/feedback.jsonl").read_text().splitlines(True)[:60]
    (project.folder / "data/raw/more.jsonl").write_text("".join(lines))
    params["datasets"]["more"] = {"kind": "kto", "raw": "data/raw/more.jsonl", "max_reject_share": 0.2}
    project.write_params(params)
    told = project.run("dvc", "repro", "evaluate@align")
    assert told.count("taken over: chat, feedback, pairs, problems; measured now: more") == 3
    after = pq.read_table(project.folder / "scores/align.parquet")
    assert after.filter(pa.compute.not_equal(after["dataset"], "more")).equals(before)


@pytest.mark.slow
def test_pass_at_k_and_harness_tasks_stand_in_the_same_scores_and_a_task_file_is_a_dependency(built, tmp_path):
    pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
    project = built.copy(tmp_path / "copy")
    params = project.read_params()
    params["evaluate"] |= {
        "pass_at_k": [1, 2],
        "samples": 2,
        "temperature": 1.0,
        "lm_eval": {"tasks": ["sides"], "limit": 3},
    }
    project.write_params(params)
    rows = [{"q": f"Is {word} left?", "options": ["yes", "no"], "a": 0} for word in ("a", "b", "c", "d")]
    (project.folder / "data/tasks/sides.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (project.folder / "data/tasks/sides.yaml").write_text(
        "task: sides\ndataset_path: json\ndataset_kwargs: {data_files: {test: data/tasks/sides.jsonl}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: '{{options}}'\n"
        "doc_to_target: a\nmetric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    ran = project.repro("evaluate@align")
    assert {"evaluate_base", "evaluate@sft", "evaluate@align"} <= ran
    assert not any(stage.startswith("train") for stage in ran)
    first = (project.folder / "scores/align.json").read_bytes()
    scores = json.loads(first)
    assert scores["lm_eval/sides"]["acc"]["n"] == 3 and scores["lm_eval/sides"]["acc"]["stderr"] is not None
    assert scores["lm_eval/sides"]["acc"]["change"] is not None
    assert {"pass@1/exact_match", "pass@2/exact_match"} <= set(scores["problems"])
    assert all(
        len(row["samples"]) == 2
        for row in pq.read_table(project.folder / "scores/align.parquet").to_pylist()
        if row["samples"]
    )
    project.run("dvc", "repro", "--force", "--single-item", "evaluate@align")
    assert (project.folder / "scores/align.json").read_bytes() == first
    project.edit("data/tasks/sides.jsonl", "left", "right")
    assert project.repro("--single-item", "evaluate@align") == {"evaluate@align"}
