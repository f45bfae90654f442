"""A machine whose GPUs would train otherwise than the step says is named before anything is loaded."""

import pytest
import torch

from stages.training.devices import device_problems

pytestmark = pytest.mark.slow


def step(**args):
    return {"args": args, "backend": "transformers"}


@pytest.fixture
def gpu(monkeypatch):
    """A function: torch says that there are these GPUs."""

    def make(count=1, bfloat16=True):
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16 or including_emulation
        )

    return make


@pytest.fixture
def driver(monkeypatch):
    """A function: torch is built for CUDA, and says this when it is asked to use it."""

    def make(error, visible=None):
        def init():
            raise RuntimeError(error)

        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible) if visible is not None else monkeypatch.delenv(
            "CUDA_VISIBLE_DEVICES", raising=False
        )

    return make


def test_one_gpu_with_bfloat16_and_no_gpu_are_as_they_should_be(gpu):
    assert device_problems("sft", step()) == []
    gpu()
    assert device_problems("sft", step()) == []


def test_two_gpus_without_a_launcher_would_double_each_batch(gpu, monkeypatch):
    gpu(count=2)
    (problem,) = device_problems("sft", step())
    assert problem.where == "steps.sft" and "2 GPUs are visible" in problem.found
    assert "accelerate launch" in problem.hint and "CUDA_VISIBLE_DEVICES=0" in problem.hint
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_problems("sft", step()) == []


def test_a_gpu_without_bfloat16_needs_another_precision(gpu):
    gpu(bfloat16=False)
    (problem,) = device_problems("sft", step())
    assert "Tesla T4 cannot compute in bfloat16" in problem.found and "fp16: true" in problem.hint
    assert device_problems("sft", step(fp16=True)) == device_problems("sft", step(bf16=False)) == []
    assert device_problems("sft", step(bf16=True)) == []  # in so many words: transformers emulates it
    assert device_problems("sft", step(bf16=True) | {"backend": "unsloth"})


def test_all_that_is_wrong_is_told_at_once(gpu):
    gpu(count=8, bfloat16=False)
    assert len(device_problems("sft", step())) == 2


def test_a_driver_that_is_too_old_does_not_train_on_the_cpu_in_silence(driver):
    driver("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")
    (problem,) = device_problems("sft", step())
    assert "too old (found version 11040)" in problem.found and "Please" not in problem.found
    assert "CUDA_VISIBLE_DEVICES= " in problem.hint


@pytest.mark.parametrize("error", ["Found no NVIDIA driver on your system. Please check", "No CUDA GPUs are available"])
def test_a_torch_for_cuda_on_a_machine_without_a_gpu_trains_on_the_cpu(driver, error):
    driver(error)
    assert device_problems("sft", step()) == []


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_gpu_that_is_hidden_is_not_asked_for(driver, visible):
    driver("The NVIDIA driver on your system is too old", visible)
    assert device_problems("sft", step()) == []
