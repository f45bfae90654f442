"""What goes wrong in the middle of a training is named: the step, what to lower, the rows."""

import json
import shutil
from collections import deque
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from stages.training import failures
from validators.problems import Problems

pytestmark = pytest.mark.slow

STEP = {"method": "sft", "dataset": "chat", "lora": None, "load_in_4bit": False}


def trainer(batch=8, sums=1, step=11, losses=()):
    """What the functions here use of a trainer: its args, its state, a step that gives the next of some losses."""
    given = deque(losses)
    return SimpleNamespace(
        args=SimpleNamespace(per_device_train_batch_size=batch, gradient_accumulation_steps=sums),
        state=SimpleNamespace(global_step=step),
        train_dataset=Dataset.from_dict({"input_ids": [[1, 2], [3], [4, 5]]}),
        data_collator=lambda features: features,
        training_step=lambda model, inputs, items=None: torch.tensor(given.popleft()),
    )


def problem(error, step=STEP, of=None):
    with pytest.raises(Problems) as raised, failures.explain_out_of_memory("sft", step, of):
        raise error
    return raised.value.problems[0]


def test_out_of_memory_names_the_step_and_the_batch_and_what_to_lower():
    found = problem(torch.OutOfMemoryError("CUDA out of memory"), of=trainer())
    assert found.where == "steps.sft"
    assert "optimizer step 12, with per_device_train_batch_size 8" in found.found
    assert "per_device_train_batch_size: 4 with gradient_accumulation_steps: 2" in found.hint
    assert "max_length" in found.hint and "lora: {r: 16" in found.hint


def test_out_of_memory_of_a_single_row_asks_for_no_half_row():
    found = problem(torch.OutOfMemoryError(), STEP | {"lora": {"r": 8}}, trainer(batch=1))
    assert "per_device_train_batch_size: 0" not in found.hint
    assert "load_in_4bit: true" in found.hint


def test_out_of_memory_of_grpo_is_of_its_generations():
    assert "num_generations" in problem(torch.OutOfMemoryError(), STEP | {"method": "grpo"}, trainer()).hint


def test_out_of_memory_while_loading_is_named_too():
    assert "while the model was loaded" in problem(torch.OutOfMemoryError()).found
    assert "while the model was loaded" in problem(RuntimeError("DefaultCPUAllocator: can't allocate memory")).found


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_an_error_without_a_class_that_says_so_is_out_of_memory(words):
    assert "out of memory on cpu" in problem(RuntimeError(words), of=trainer()).found


@pytest.mark.parametrize(
    "error", [RuntimeError, NotImplementedError, RecursionError, type("AcceleratorError", (RuntimeError,), {})]
)
def test_another_error_stays_what_it_is(error):
    with pytest.raises(error, match="shapes"), failures.explain_out_of_memory("sft", STEP):
        raise error("shapes do not fit")


def watched(losses, **options):
    found = failures.stop_on_bad_loss(trainer(losses=losses, **options), "sft", STEP, ["id-a", "id-b", "id-c"])
    return found, list(found.train_dataset)


def test_a_loss_that_is_a_number_goes_on():
    found, rows = watched([1.5])
    found.data_collator(rows[:2])
    assert found.training_step(None, None).item() == 1.5


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_the_rows_of_its_batch(loss):
    found, rows = watched([1.0, loss])
    found.data_collator(rows[:1])
    found.data_collator(rows[1:])  # loaders are one batch ahead
    found.training_step(None, None)
    with pytest.raises(Problems) as raised:
        found.training_step(None, None)
    stopped = raised.value.problems[0]
    assert f"the loss of optimizer step 12 is {loss}" in stopped.found
    assert "rows id-b, id-c of data/train/chat.parquet" in stopped.hint and "id-a" not in stopped.hint


def test_rows_that_cannot_be_told_are_not_made_up():
    assert failures.batch_row_ids([{"input_ids": [1, 2]}], Dataset.from_dict({"input_ids": [[1, 2]]}), ["a", "b"]) == []
    assert failures.batch_row_ids(None, Dataset.from_dict({"input_ids": [[1, 2]]}), ["a"]) == []


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto", "grpo"])
def test_a_training_that_loses_its_numbers_names_rows_of_its_dataset(built, tmp_path, monkeypatch, method):
    import pyarrow.parquet as pq
    from transformers import Trainer

    from stages import preflight, train

    project = built.copy(tmp_path / "copy")
    monkeypatch.chdir(project.folder)
    params = project.read_params()
    rewards = {"rewards": ["one_word"]} if method == "grpo" else {}
    shutil.rmtree(".work")
    params["steps"]["align"] = (
        params["methods"][method] | rewards | {"overlong": "drop"}
    )  # unlike any step that is trained
    project.write_checked(params)
    preflight.main()
    monkeypatch.setattr(Trainer, "training_step", lambda *_, **__: torch.tensor(float("nan")))
    with pytest.raises(Problems) as raised:
        train.main("align")
    hint = raised.value.problems[0].hint
    named = hint.split("rows ")[1].split(" of data/train")[0].split(", ")
    ids = set(pq.read_table(f"data/train/{params['steps']['align']['dataset']}.parquet")["id"].to_pylist())
    assert named and set(named) <= ids
    made_of = project.folder / "models/align/made_of.json"
    assert json.loads(made_of.read_text())["method"] == "dpo"  # the model that was there
