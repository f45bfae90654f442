"""QLoRA without CUDA: bitsandbytes has kernels for the CPU, and both backends train adapters over 4-bit weights with them."""

import pytest
from trainings import LORA, METHODS, steps_of

pytestmark = pytest.mark.long
pytest_plugins = ["trainings"]

# the model as it is trained, with what stands beneath its adapters
LOOK = """\
import stages.train
make = stages.train.make_trainer
def make_and_look(name, step, folder):
    trainer = make(name, step, folder)
    layers = [type(m.base_layer).__name__ for m in trainer.model.modules() if hasattr(m, "base_layer")]
    held = {str(m.base_layer.weight.dtype) for m in trainer.model.modules() if hasattr(m, "base_layer")}
    print("BENEATH", sorted(set(layers)), sorted(held))
    return trainer
stages.train.make_trainer = make_and_look
"""


def quantised(params, methods=METHODS):
    return steps_of(params, LORA, methods=methods, load_in_4bit=True)


def test_both_backends_train_every_method_over_4_bit_weights_alike(prepare, train):
    plain = train(prepare("plain", "transformers", quantised), METHODS, None, LOOK)
    fast = train(prepare("fast", "unsloth", quantised), METHODS, "cpu", LOOK)
    for trained in (plain, fast):
        assert trained.output.count("BENEATH ['Linear4bit'] ['torch.uint8']") == len(METHODS), trained.output[-3000:]
    for method in METHODS:
        assert "bitsandbytes" in plain.made_of(method)["versions"]
        assert fast.losses(method) == pytest.approx(plain.losses(method), abs=1e-3), method


def test_what_is_learned_over_4_bit_weights_is_learned_though_answers_are_generated_in_between(prepare, train):
    """bitsandbytes packs weights anew at a look without gradients where the processor has AVX512 with bfloat16, and does not unpack them."""

    def steps(params):
        return steps_of(params, LORA, {"max_steps": 8, "learning_rate": 5.0e-3}, ("sft",), load_in_4bit=True)

    look_first = """\
import stages.train, torch
make = stages.train.make_trainer
def make_and_look(name, step, folder):
    trainer = make(name, step, folder)
    trainer.model.eval()
    with torch.no_grad():
        trainer.model(input_ids=torch.arange(8)[None])
    trainer.model.train()
    return trainer
stages.train.make_trainer = make_and_look
"""
    looked = train(prepare("looked", "transformers", steps), ["sft"], None, look_first)
    plain = train(prepare("plain", "transformers", steps), ["sft"], None)
    assert looked.losses("sft") == pytest.approx(plain.losses("sft"), abs=1e-3)
    assert plain.losses("sft")[-1] < plain.losses("sft")[0] - 0.05


def test_without_a_bitsandbytes_that_works_the_step_stops_before_anything_is_loaded(prepare, train):
    broken = """\
import bitsandbytes
def forward(self, x):
    raise RuntimeError("no kernel")
bitsandbytes.nn.Linear4bit.forward = forward
"""
    project = prepare("broken", "transformers", lambda params: quantised(params, ("sft",)))
    done = train(project, ["sft"], None, broken, fails=True)
    assert "steps.sft.load_in_4bit: bitsandbytes cannot train 4-bit weights on this machine's cpu" in done.output
    assert "Traceback" not in done.output and not (project.folder / ".work/sft").exists()
