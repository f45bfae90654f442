"""Batches and optimizer steps, on as many processes as `launch` starts."""

from types import SimpleNamespace

import numpy as np
import pytest

from stages.dryrun import schedule

CONFIG = SimpleNamespace(
    per_device_train_batch_size=8,
    gradient_accumulation_steps=2,
    num_train_epochs=3.0,
    max_steps=-1,
    dataloader_drop_last=False,
)


def config(**changes):
    return SimpleNamespace(**(vars(CONFIG) | changes))


@pytest.mark.parametrize(
    "launch, count",
    [
        ("python", 1),
        ("accelerate launch", 1),
        ("accelerate launch --num_processes 4", 4),
        ("accelerate launch --num_processes=4 --mixed_precision bf16", 4),
        ("torchrun --nproc_per_node 8 --nnodes 2", 16),
        ("torchrun --nproc-per-node=8 --nnodes=1:2", 16),
        ("torchrun --nproc_per_node gpu", 1),
        ("accelerate launch --num_processes many", 1),
        ("accelerate launch 'a quote that never ends", 1),
        ("accelerate launch --config_file .", 1),
        ("accelerate launch --config_file nowhere.yaml", 1),
    ],
)
def test_processes_are_those_that_launch_names(launch, count):
    assert schedule.count_processes(launch) == count


def test_processes_are_read_from_the_file_that_launch_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text("distributed_type: MULTI_CPU\nnum_processes: 2\n", encoding="utf-8")
    assert schedule.count_processes("accelerate launch --config_file two.yaml") == 2
    assert schedule.count_processes("accelerate launch --config_file two.yaml --num_processes 3") == 3
    for text in ("num_processes: [", "- 1", "num_processes: auto", ""):
        (tmp_path / "two.yaml").write_text(text, encoding="utf-8")
        assert schedule.count_processes("accelerate launch --config_file two.yaml") == 1


def test_a_last_batch_that_is_not_full_counts_unless_it_is_dropped():
    assert schedule.batches_per_epoch(config(), "sft", 17) == 3
    assert schedule.batches_per_epoch(config(dataloader_drop_last=True), "sft", 17) == 2


def test_what_steps_reach_is_a_share_of_the_sequences():
    assert schedule.epochs_reached(config(), "sft", 64, 1) == 0.25
    assert schedule.epochs_reached(config(), "sft", 64, 2, 2) == 1.0
    asked = config(num_generations=8, num_iterations=2)
    assert schedule.epochs_reached(asked, "grpo", 64, 4) == 4 / 64


def test_steps_are_batches_by_accumulation_by_epochs():
    assert schedule.count_optimizer_steps(config(), "sft", 17) == 6
    assert schedule.count_optimizer_steps(config(num_train_epochs=0.5), "sft", 17) == 1


def test_processes_share_the_batches():
    assert schedule.count_optimizer_steps(config(), "sft", 160, count=1) == 30
    assert schedule.count_optimizer_steps(config(), "sft", 160, count=5) == 6


def test_max_steps_is_what_is_taken():
    assert schedule.count_optimizer_steps(config(max_steps=100), "sft", 17) == 100
    assert schedule.count_optimizer_steps(config(max_steps=0), "sft", 17) == 0


def grpo(**changes):
    sizes = {"generation_batch_size": 16, "num_generations": 4, "steps_per_generation": 2, "num_iterations": 1}
    return config(**(sizes | changes))


def test_grpo_leaves_out_the_prompts_that_fill_no_batch():
    assert schedule.count_optimizer_steps(grpo(num_train_epochs=1), "grpo", 11) == 2
    assert schedule.count_optimizer_steps(grpo(num_train_epochs=1, num_iterations=3), "grpo", 11) == 6


def test_grpo_takes_no_step_with_fewer_prompts_than_a_batch_whatever_max_steps_says():
    assert schedule.count_optimizer_steps(grpo(max_steps=50), "grpo", 3) == 0


@pytest.mark.slow
def test_a_config_is_made_as_one_of_several_processes_and_nothing_is_left_of_it():
    from trl import GRPOConfig

    with schedule.assume_processes(2):
        made = GRPOConfig("out", per_device_train_batch_size=2, num_generations=4, use_cpu=True, bf16=False)
        assert made.generation_batch_size == 4
    with pytest.raises(ValueError, match="divisible"):
        GRPOConfig("out", per_device_train_batch_size=2, num_generations=4, use_cpu=True, bf16=False)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
@pytest.mark.parametrize("changes", [{}, {"shuffle_dataset": True}, {"dataset_num_proc": 2}])
def test_packed_sequences_are_those_of_trl(strategy, changes):
    from datasets import Dataset
    from trl import pack_dataset

    settings = {
        "packing_strategy": strategy,
        "max_length": 32,
        "shuffle_dataset": False,
        "dataset_num_proc": None,
        "seed": 7,
    }
    settings = SimpleNamespace(**(settings | changes))
    lengths = np.random.default_rng(0).integers(1, 50, 2500)
    rows = Dataset.from_dict({"input_ids": [[1] * int(length) for length in lengths]})
    if settings.shuffle_dataset:
        rows = rows.shuffle(seed=7)
    expected = pack_dataset(rows, 32, strategy, {"num_proc": settings.dataset_num_proc})
    assert schedule.count_packed_sequences(lengths, settings) == len(expected)
