"""Tasks of the lm-evaluation-harness: a task file made here, scored a second way."""

import importlib.util
import json

import pytest

from stages.scoring import harness, statistics
from stages.scoring.generation import load_for_generation
from stages.scoring.harness_scores import harness_scores, metrics_of
from stages.training.models import save_tiny_model
from validators.params import LmEval
from validators.problems import Problems

installed = pytest.mark.skipif(not importlib.util.find_spec("lm_eval"), reason="the extra lm-eval is not installed")
CHOICE = """
task: letters
dataset_path: json
dataset_kwargs: {data_files: {test: data/tasks/letters.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{options}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
SPOKEN = """
task: spoken
dataset_path: json
dataset_kwargs: {data_files: {test: data/tasks/letters.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{said}}"
generation_kwargs: {until: ["."], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
ROWS = [
    {"question": f"Which is {a}?", "options": [a, b], "answer": 0, "said": a} for a, b in ("ab", "cd", "ef", "gh", "ij")
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data/tasks").mkdir(parents=True)
    (tmp_path / "data/tasks/letters.yaml").write_text(CHOICE)
    (tmp_path / "data/tasks/spoken.yaml").write_text(SPOKEN)
    (tmp_path / "data/tasks/letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    save_tiny_model(folder)
    return load_for_generation(folder, batch_size=2)


def likelier(model, question, options):
    """The place of the option that the model finds likelier, each alone."""
    import torch

    found = []
    for option in options:
        context, whole = (
            model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (question, f"{question} {option}")
        )
        with torch.inference_mode():
            logp = torch.log_softmax(model.model(torch.tensor([whole])).logits[0], -1)
        found.append(sum(logp[i - 1, whole[i]].item() for i in range(len(context), len(whole))))
    return found.index(max(found))


def scores(model, wanted, parent):
    """As `evaluate` does it. wanted: `evaluate.lm_eval`, as far as it is not the default."""
    wanted = LmEval.model_validate(wanted).model_dump()
    ran = {}
    for tasks in harness.load_tasks(wanted, 7).values():
        ran |= harness.run_tasks(model, tasks, wanted, 7)
    tables = [found.documents for _, found in sorted(ran.items()) if found.documents.num_rows]
    return harness_scores(ran, 7, parent), tables


@pytest.mark.slow
@installed
def test_a_task_file_is_scored_with_its_standard_error(project, model, monkeypatch):
    monkeypatch.setattr(statistics, "FEW_ROWS", 1)
    report, (table,) = scores(model, {"tasks": ["letters"]}, None)
    right = [likelier(model, row["question"], row["options"]) == row["answer"] for row in ROWS]
    item = report["lm_eval/letters"]["acc"]
    share = sum(right) / len(right)
    assert item["value"] == share and item["n"] == len(ROWS)
    assert item["stderr"] == pytest.approx((share * (1 - share) / (len(ROWS) - 1)) ** 0.5, abs=1e-6)
    assert item["low"] == pytest.approx(share - 1.96 * item["stderr"], abs=1e-5)
    assert item["change"] is None
    assert table["lm_eval/acc"].to_pylist() == [float(value) for value in right]


@pytest.mark.slow
@installed
def test_the_change_is_paired_with_the_parents_documents(project, model, monkeypatch):
    import pyarrow as pa

    monkeypatch.setattr(statistics, "FEW_ROWS", 1)
    _, (table,) = scores(model, {"tasks": ["letters"]}, None)
    worse = table.set_column(table.column_names.index("lm_eval/acc"), "lm_eval/acc", pa.array([-1.0] * len(ROWS)))
    item = scores(model, {"tasks": ["letters"]}, worse)[0]["lm_eval/letters"]["acc"]
    assert item["change"] == pytest.approx(item["value"] + 1)
    assert item["change_low"] <= item["change"] <= item["change_high"]
    other = worse.set_column(worse.column_names.index("id"), "id", pa.array(list("abcde")))
    assert scores(model, {"tasks": ["letters"]}, other)[0]["lm_eval/letters"]["acc"]["change"] is None


@pytest.mark.slow
@installed
def test_what_a_model_says_is_kept_and_two_runs_are_the_same_and_silent(project, model, capsys):
    wanted = {"tasks": ["spoken", "letters"], "limit": 3}
    first, second = (scores(model, wanted, None) for _ in range(2))
    assert first[0] == second[0] and [a.equals(b) for a, b in zip(first[1], second[1], strict=True)] == [True, True]
    assert capsys.readouterr() == ("", "")
    assert list(first[0]) == ["lm_eval/letters", "lm_eval/spoken"]
    assert first[0]["lm_eval/spoken"]["exact_match"]["n"] == 3
    assert all(isinstance(text, str) for text in first[1][1]["generation"].to_pylist())


@pytest.mark.slow
@installed
@pytest.mark.parametrize("aggregate", [True, False])
def test_a_group_has_the_scores_of_its_tasks_and_its_own_if_it_has_any(project, model, aggregate):
    both = "group: both\ntask: [letters, spoken]\n"
    own = "aggregate_metric_list: [{metric: acc, weight_by_size: true, filter_list: none}]\n" if aggregate else ""
    (project / "data/tasks/both.yaml").write_text(both + own)
    report, _ = scores(model, {"tasks": ["both"]}, None)
    assert list(report) == ["lm_eval/both"] * aggregate + ["lm_eval/letters", "lm_eval/spoken"]
    if aggregate:
        assert report["lm_eval/both"]["acc"]["value"] == report["lm_eval/letters"]["acc"]["value"]


@pytest.mark.slow
@installed
@pytest.mark.parametrize("chat, closing", [(True, "</think>"), (False, None)])
def test_with_a_chat_template_a_task_gets_its_switches_and_reads_what_follows_a_thought(
    project, tmp_path, monkeypatch, chat, closing
):
    from lm_eval.models import huggingface
    from test_thoughts import SMALL

    save_tiny_model(tmp_path / "base")
    (tmp_path / "base/chat_template.jinja").write_text(SMALL)
    thinking, given, prompts = load_for_generation(tmp_path / "base", 2, chat_template_kwargs={"opens": True}), [], []

    class Watched(huggingface.HFLM):
        def __init__(self, **options):
            given.append(options)
            super().__init__(**options)

        def _model_generate(self, context, **options):
            prompts.extend(self.tokenizer.batch_decode(context))
            return super()._model_generate(context, **options)

    monkeypatch.setattr(huggingface, "HFLM", Watched)
    scores(thinking, {"tasks": ["spoken"], "apply_chat_template": chat}, None)
    assert given[0]["think_end_token"] == closing and given[0]["chat_template_args"] == {"opens": True}
    assert len(prompts) == 5 and all(prompt.endswith("<|assistant|><think>") == chat for prompt in prompts)


@pytest.mark.slow
@installed
def test_fewshot_examples_are_the_same_for_the_same_seed(project, model):
    (project / "data/tasks/letters.yaml").write_text(CHOICE + "fewshot_split: test\n")
    wanted = {"tasks": ["letters"], "num_fewshot": 2}
    first, second = (scores(model, wanted, None)[0] for _ in range(2))
    assert first == second


@pytest.mark.slow
@installed
def test_names_of_tasks_are_checked_without_running_them(project):
    assert harness.task_problems(["letters", "spoken", "arc_easy", "gsm8k", "mmlu"]) == []


@installed
@pytest.mark.slow
def test_an_unknown_task_is_a_problem_with_the_nearest_name(project):
    (problem,) = harness.task_problems(["letters", "lettres"])
    assert problem.found == "no task 'lettres'" and problem.hint == "did you mean 'letters'?"


@pytest.mark.slow
@installed
def test_a_task_whose_data_is_not_here_is_a_problem_that_says_how_to_get_it(project, model):
    (project / "data/tasks/letters.jsonl").unlink()
    with pytest.raises(Problems, match="lm_eval run --model dummy --limit 1 --tasks letters"):
        scores(model, {"tasks": ["letters"]}, None)


@pytest.mark.slow
@installed
def test_a_task_of_the_harness_that_runs_what_a_model_wrote_is_refused(project, model, monkeypatch):
    (project / "data/tasks/letters.yaml").write_text(CHOICE + "unsafe_code: true\n")
    monkeypatch.setattr(harness, "task_file_problems", list)  # as if it lay there
    with pytest.raises(Problems, match="runs code that a model wrote"):
        scores(model, {"tasks": ["letters"]}, None)


@pytest.mark.slow
@installed
@pytest.mark.parametrize("place", ["doc_to_text", "description"])
def test_a_template_that_reaches_for_python_is_a_problem_and_runs_nothing(project, model, place):
    hostile = "{{cycler.__init__.__globals__.os.system('touch ran')}}"
    (project / "data/tasks/letters.yaml").write_text(
        "\n".join(line for line in CHOICE.splitlines() if not line.startswith(place)) + f'\n{place}: "{hostile}"\n'
    )
    with pytest.raises(Problems, match=r"a template of .?letters.? does what the sandbox forbids: .*__init__"):
        scores(model, {"tasks": ["letters"]}, None)
    assert not (project / "ran").exists()


@pytest.mark.slow
@installed
def test_a_task_file_that_names_code_is_told_before_a_build_and_not_run_by_one(project, model):
    (project / "data/tasks/helper.py").write_text("open('ran', 'w').close()\ndef go(rows): return rows\n")
    (project / "data/tasks/letters.yaml").write_text(CHOICE + "process_docs: !function helper.go\n")
    (problem,) = harness.task_problems(["letters"])
    assert problem.where == "data/tasks/letters.yaml: process_docs"
    with pytest.raises(Problems, match=r"process_docs: '!function helper\.go' names Python code"):
        scores(model, {"tasks": ["letters"]}, None)
    assert not (project / "ran").exists()


@pytest.mark.slow
@installed
def test_a_path_is_no_name_of_a_task(project, model):
    (project / "mine.yaml").write_text(CHOICE)
    with pytest.raises(Problems, match=r"no task 'mine\.yaml'"):
        harness.load_tasks(LmEval(tasks=["letters", "mine.yaml"]).model_dump(), 7)


def test_without_the_harness_its_tasks_are_a_problem(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (problem,) = harness.task_problems(["letters"])
    assert problem.found == "lm-evaluation-harness is not installed" and "lm-eval" in problem.hint


def test_values_and_their_standard_errors_are_found_by_metric_and_filter():
    values = {
        "alias": "x", "sample_len": 3, "name": "x", "acc,none": 0.5, "acc_stderr,none": 0.1,
        "exact_match,strict": 1, "exact_match_stderr,strict": "N/A",
    }  # fmt: skip
    assert list(metrics_of(values)) == [("acc", 0.5, 0.1), ("exact_match/strict", 1.0, None)]
