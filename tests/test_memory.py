"""The estimate of memory, from shapes alone, beside what a training on this machine's CPU really took."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.dryrun import memory
from stages.training.models import save_tiny_model
from validators.params import Lora

ROOT = Path(__file__).parents[1]
FACTOR = 1.5
OFTEN = ("sft-full", "kto-lora", "grpo-lora")  # the others are tried by `make test-long`
SHAPE = memory.Shape(
    parameters=1000, linear={"model.layers.0.mlp.up_proj": (30, 10), "model.layers.0.self_attn.q_proj": (10, 10)},
    layers=2, hidden=10, queries=10, keys=5, intermediate=30, vocabulary=50, embedding=50, context=64,
)  # fmt: skip
CONFIG = SimpleNamespace(
    bf16=False, gradient_checkpointing=False, per_device_train_batch_size=4, max_length=16, max_completion_length=8,
    optim="adamw_torch", beta=0.0, packing=False, loss_type="chunked_nll",
)  # fmt: skip


def step(method="sft", **changes):
    return {"method": method, "args": {}, "lora": None, "length": {"max": 20}} | changes


def config(**changes):
    return SimpleNamespace(**(vars(CONFIG) | changes))


@pytest.mark.slow
def test_the_shape_is_read_from_headers_and_config(tmp_path):
    import torch

    save_tiny_model(tmp_path)
    shape = memory.read_shape(tmp_path)
    from stages.training.models import load_model

    model = load_model(tmp_path)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    linear = {name: tuple(m.weight.shape) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert shape.linear == {name: sides for name, sides in linear.items() if name != "lm_head"}
    assert (shape.layers, shape.hidden, shape.queries, shape.keys) == (3, 128, 128, 64)
    assert (shape.intermediate, shape.vocabulary, shape.embedding, shape.context) == (384, 263, 263, 8192)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], r".*\.mlp\..*_proj"])
def test_adapters_have_as_many_weights_as_peft_makes(tmp_path, targets):
    from peft import LoraConfig, get_peft_model

    from stages.training.models import load_model

    save_tiny_model(tmp_path)
    model = get_peft_model(load_model(tmp_path), LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets))
    made = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert memory.lora_parameters(memory.read_shape(tmp_path), {"r": 4, "target_modules": targets}) == made


def test_full_training_in_float32_is_four_copies_of_the_weights():
    parts = memory.estimate_memory(step(), SHAPE, CONFIG, "cpu", None)
    assert (parts["weights"], parts["gradients"], parts["optimizer"], parts["reference"]) == (4000, 4000, 8000, 0)
    assert parts["total"] == sum(size for part, size in parts.items() if part != "total")


def test_an_adapter_has_small_gradients_and_no_reference():
    lora = {"r": 2, "target_modules": "all-linear"}
    parts = memory.estimate_memory(step("dpo", lora=lora), SHAPE, CONFIG, "cpu", None)
    trained = 2 * (40 + 20)
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (4000 + 4 * trained, 4 * trained, 8 * trained)
    assert parts["reference"] == 0


def test_four_bits_are_for_the_layers_and_not_for_the_embedding():
    lora = {"r": 2, "target_modules": "all-linear"}
    parts = memory.estimate_memory(step(lora=lora, load_in_4bit=True), SHAPE, CONFIG, "cuda", None)
    assert parts["weights"] == pytest.approx(400 * 0.515875 + 600 * 2 + 2 * 120)
    assert parts["half copies"] == 0


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_on_a_gpu_all_layers_keep_what_they_made_where_the_args_say_so_by_either_name(name):
    checkpointed, kept = (
        memory.estimate_memory(step(args={name: on}), SHAPE, CONFIG, "cuda", None) for on in (True, False)
    )
    assert memory.estimate_memory(step(), SHAPE, CONFIG, "cuda", None) == checkpointed
    assert checkpointed["activations"] < kept["activations"]


def test_on_a_gpu_weights_of_full_training_have_copies_in_half_and_adapters_a_half_base():
    assert memory.estimate_memory(step(), SHAPE, CONFIG, "cuda", None)["half copies"] == 2 * 400
    assert (
        memory.estimate_memory(step(lora={"r": 1, "target_modules": "all-linear"}), SHAPE, CONFIG, "cuda", None)[
            "weights"
        ]
        == 2 * 1000 + 4 * 60
    )


@pytest.mark.parametrize(
    "method, changes, held", [("dpo", {}, True), ("kto", {}, True), ("orpo", {}, False), ("grpo", {}, False), ("grpo", {"beta": 0.1}, True), ("dpo", {"precompute_ref_log_probs": True}, False)]
)  # fmt: skip
def test_a_reference_is_a_second_model(method, changes, held):
    parts = memory.estimate_memory(step(method), SHAPE, config(**changes), "cpu", None)
    assert (parts["reference"] == parts["weights"]) == held


def test_pairs_are_two_sequences_and_a_grpo_row_is_its_prompt_with_an_answer():
    assert memory.forward_pass_size(step("dpo"), CONFIG) == (8, 16, 128)
    assert memory.forward_pass_size(step("grpo"), CONFIG) == (4, 28, 36)
    assert memory.forward_pass_size(step("kto"), config(max_length=None)) == (4, 20, 80)


def test_a_chunked_loss_holds_a_chunk_of_logits():
    assert memory.forward_pass_size(step(), config(per_device_train_batch_size=100)) == (100, 16, 256)
    assert memory.forward_pass_size(step(), config(per_device_train_batch_size=100, loss_type="nll")) == (100, 16, 1600)


def test_a_fused_head_holds_a_tile_of_logits():
    assert memory.logit_bytes(None, 50, 128, None) == memory.logit_bytes(None, 50, 128, 2) == 16 * 50 * 128
    assert memory.logit_bytes((100, 32), 50, 128, None) == memory.logit_bytes((100, 60), 32, 128, None) == 16 * 32 * 100
    assert memory.logit_bytes((100, 32), 50, 40, None) == 16 * 32 * 40
    # on a GPU the tile is one buffer of the width that TRL says, however small the vocabulary is
    assert memory.logit_bytes((100, 60), 32, 128, 2) == 2 * 60 * 100
    parts = memory.estimate_memory(step("dpo"), SHAPE, CONFIG, "cpu", (100, 32))
    assert parts["logits"] == 16 * 32 * 100 < memory.estimate_memory(step("dpo"), SHAPE, CONFIG, "cpu", None)["logits"]


def test_checkpoints_keep_one_layer_and_what_came_into_the_others():
    whole = memory.activation_bytes(SHAPE, None, False, False)
    assert memory.activation_bytes(SHAPE, None, False, True) == whole / 2 + 4 * 10 * 2


@pytest.mark.parametrize(
    "optim, size", [("adamw_torch", 8), ("adamw_8bit", 2), ("paged_adamw_8bit", 2), ("sgd", 0), ("adafactor", 0), ("lion_32bit", 4)]
)  # fmt: skip
def test_optimizers_keep_what_they_need(optim, size):
    assert memory.optimizer_bytes(config(optim=optim)) == size


def test_sizes_are_said_as_a_person_says_them():
    assert [memory.format_bytes(count) for count in (0, 35e6, 1.24e9, 2.5e12)] == [
        "0 MB",
        "35 MB",
        "1.2 GB",
        "2,500.0 GB",
    ]


# -- beside a real training -------------------------------------------------------------------------------------------

TRAINING = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import test_memory
print(json.dumps(test_memory.peak(sys.argv[3], json.loads(sys.argv[4]))))
"""


def status(key):
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def peak(method, lora):
    """(bytes that a training takes at its worst, bytes that were estimated), in a process of its own."""
    import test_token_counts as rows_of
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from stages import train
    from stages.training.models import load_tokenizer
    from stages.training.trl import make_config

    Path("data/train").mkdir(parents=True)
    save_tiny_model("models/base")
    tokenizer = load_tokenizer()
    args = {"max_length": 256} if method != "grpo" else {"max_completion_length": 64, "num_generations": 4}
    step = rows_of.step_of(method, per_device_train_batch_size=4, **args)
    ask, answer, worse = rows_of.user("a" * 100), rows_of.said("b" * 150), rows_of.said("c" * 150)
    rows = {
        "sft": {"messages": ask + answer},
        "kto": {"prompt": ask, "completion": answer},
        "grpo": {"prompt": ask, "ground_truth": "b", "extra": "{}"},
    }.get(method, {"prompt": ask, "chosen": answer, "rejected": worse})
    rows_of.write(method, [rows | ({"label": i % 2 == 0} if method == "kto" else {}) for i in range(16)])
    train.make_trainer(
        "s", step, Path(".work/warm")
    ).train()  # libraries load a hundred megabytes as they are first used
    config = Qwen3Config.from_pretrained("models/base")
    config.update({"vocab_size": 16384, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4, "layer_types": ["full_attention"] * 8})  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained("models/base")
    tokenizer.save_pretrained("models/base")
    step |= {"lora": lora, "length": {"max": 255 if method != "grpo" else 103}, "args": step["args"] | {"max_steps": 2}}
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark begins anew
    train.make_trainer("s", step, Path(".work/s")).train()
    parts = memory.estimate_memory(
        step, memory.read_shape(), make_config("steps.s", step, "out"), "cpu", memory.fused_logit_tile(method)
    )
    return status("VmHWM") - before, parts


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("method", "lora"),
    [
        pytest.param(method, lora, id=f"{method}-{way}", marks=() if f"{method}-{way}" in OFTEN else pytest.mark.long)
        for method in ("sft", "dpo", "orpo", "kto", "grpo")
        for way, lora in (("full", None), ("lora", Lora().model_dump()))
    ],
)
def test_the_estimate_is_near_what_a_training_took(tmp_path, method, lora):
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(ROOT), str(ROOT / "tests"), method, json.dumps(lora)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    measured, parts = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{method} {'lora' if lora else 'full'}: measured {measured / 1e6:.0f} MB, estimated {parts['total'] / 1e6:.0f} MB", {part: round(size / 1e6) for part, size in parts.items()})  # fmt: skip
    assert 1 / FACTOR <= parts["total"] / measured <= FACTOR
