"""How long a training takes at least: the operations of a training that is easy to count by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.dryrun import duration
from stages.dryrun.memory import Shape

SHAPE = Shape(
    parameters=1300,
    linear={"up": (20, 10), "down": (10, 20)},
    layers=1,
    hidden=10,
    queries=10,
    keys=10,
    intermediate=20,
    vocabulary=50,
    embedding=50,
    context=0,
)
STEP = {"method": "sft", "tokens": 1000, "sequences": 10, "optimizer_steps": 5, "processes": 1, "lora": None}
CONFIG = SimpleNamespace(per_device_train_batch_size=2, gradient_checkpointing=False)


@pytest.fixture(autouse=True)
def rate(monkeypatch):
    """A machine that computes 1,000 operations a second, whatever the matrix."""
    monkeypatch.setattr(duration, "matmul_rate", lambda *_: 1000.0)


def test_a_token_costs_two_operations_a_weight_and_its_attention():
    assert duration.flops_per_token(SHAPE, 100) == 2 * 400 + 2 * 100 * 10 + 2 * 10 * 50


@pytest.mark.parametrize(
    "changes, args, passes",
    [
        ({}, {}, 3),
        ({"lora": {"r": 8}}, {}, 2),
        ({}, {"gradient_checkpointing": True}, 4),
        ({"method": "dpo"}, {}, 4),
        ({"method": "orpo"}, {}, 3),
    ],
)
def test_a_training_costs_as_many_passes_as_its_method_takes(changes, args, passes):
    config = SimpleNamespace(**(vars(CONFIG) | args))
    seconds = duration.least_seconds(STEP | changes, SHAPE, config, 0.5, "cpu")
    assert seconds == pytest.approx(500 * passes * duration.flops_per_token(SHAPE, 100) / 1000)


def test_processes_share_the_work():
    alone, four = (duration.least_seconds(STEP | {"processes": n}, SHAPE, CONFIG, 1, "cpu") for n in (1, 4))
    assert four == alone / 4


def test_grpo_also_samples_its_answers():
    args = {"gradient_accumulation_steps": 1, "steps_per_generation": 1, "num_iterations": 1, "beta": 0.0}
    config = SimpleNamespace(**(vars(CONFIG) | args), max_completion_length=100)
    seconds = duration.least_seconds(STEP | {"method": "grpo"}, SHAPE, config, 1, "cpu")
    answers = 5 * 2 * 100  # tokens: steps, answers of each, tokens of each
    operations = duration.flops_per_token(SHAPE, 200)
    assert seconds == pytest.approx((answers + 3 * 2 * answers) * operations / 1000)


@pytest.mark.slow
def test_the_rate_of_this_machine_is_measured(monkeypatch):
    monkeypatch.undo()
    assert duration.matmul_rate(SHAPE, 64, "cpu", half=False) > 1e6


class Timed:
    """A small model whose passes take a second for each token, and whose optimizer steps take ten."""

    def pass_seconds(self, sequences, length):
        self.asked = sequences, length
        return sequences * length, 3 * sequences * length, 10

    def decode_seconds(self, sequences, length):
        return sequences * length / 2


ACCUMULATED = SimpleNamespace(**vars(CONFIG), gradient_accumulation_steps=2)


@pytest.mark.parametrize(("method", "passes"), [("sft", 3), ("dpo", 4), ("orpo", 3), ("kto", 4)])
def test_a_small_training_takes_its_batches_its_optimizer_steps_and_its_reference(method, passes):
    step, model = STEP | {"method": method, "sequences": 40, "tokens": 4000}, Timed()
    # 5 optimizer steps of 2 batches: with half an epoch, 2 sequences of 100 tokens each
    assert duration.likely_seconds(step, ACCUMULATED, model, 0.5) == 10 * passes * 200 + 5 * 10
    assert model.asked == (2, 100)


def test_a_small_grpo_training_also_samples():
    config = SimpleNamespace(
        **vars(ACCUMULATED), steps_per_generation=2, num_iterations=1, max_completion_length=100, beta=0.0
    )
    seconds = duration.likely_seconds(STEP | {"method": "grpo"}, config, Timed(), 1)
    # 10 batches of 2 answers, sampled 4 at a time
    assert seconds == 5 * 100 * (4 * 100 / 2) + 10 * 3 * (2 * 200) + 5 * 10


@pytest.mark.slow
def test_a_small_model_is_timed_and_draws_nothing_from_the_random_numbers_of_others(tmp_path):
    import torch

    from stages.training.models import save_tiny_model

    save_tiny_model(tmp_path / "base")
    before, model = torch.random.get_rng_state(), duration.SmallModel(tmp_path / "base")
    forward, both, optimizer = model.pass_seconds(2, 30)
    assert min(forward, both, optimizer, model.decode_seconds(2, 30)) > 0
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("wanted", "shape", "part"), [((8, 100), (8, 100), 1), ((400, 100), (20, 100), 0.05), ((2, 4096), (1, 2048), 0.25)]
)
@pytest.mark.slow
def test_a_large_batch_is_timed_in_part(wanted, shape, part):
    ids, of = duration.SmallModel(Path("base")).trial_batch(*wanted)
    assert (tuple(ids.shape), of) == (shape, part)


@pytest.mark.slow
def test_a_row_longer_than_the_positions_of_a_small_model_is_timed_in_part(tmp_path):
    """A GPT-2 has a vector for each position, and fails beyond the last."""
    from transformers import GPT2Config

    GPT2Config(n_positions=64, n_embd=8, n_layer=1, n_head=1, vocab_size=9, eos_token_id=0).save_pretrained(tmp_path)
    model = duration.SmallModel(tmp_path, context=64)
    assert model.trial_batch(1, 500)[0].shape == (1, 48)
    assert min(*model.pass_seconds(1, 500), model.decode_seconds(1, 500)) > 0
