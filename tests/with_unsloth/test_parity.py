"""The real Unsloth trains what transformers trains: the same losses, on float32, from the same rows and adapters."""

import json

import pytest
from trainings import LORA, METHODS, SMALL, steps_of

pytestmark = pytest.mark.long
pytest_plugins = ["trainings"]

CLOSE = 1e-3


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_losses_are_those_of_transformers(prepare, train, lora):
    plain = train(prepare("plain", "transformers", lambda params: steps_of(params, lora)), METHODS, None)
    fast = train(prepare("fast", "unsloth", lambda params: steps_of(params, lora)), METHODS, "cpu")
    compare(plain, fast, METHODS)


def test_losses_of_the_way_on_a_gpu_are_those_of_transformers(prepare, train):
    """Adapters with sft: Triton's interpreter takes half a minute for each optimizer step of each method."""

    def steps(params):
        return steps_of(params, LORA, SMALL | {"bf16": False}, ("sft",))

    plain = train(prepare("plain", "transformers", steps), ["sft"], None)
    fast = train(prepare("fast", "unsloth", steps), ["sft"], "gpu-float32")
    compare(plain, fast, ["sft"], steps=2)
    assert fast.made_of("sft")["device"] == "a GPU that is none, of capability 7.5"


def compare(plain, fast, methods, steps=3):
    """Losses within CLOSE of each other, norms of gradients within 1%."""
    apart = {}
    for method in methods:
        made_of = fast.made_of(method)
        assert made_of["backend"] == "unsloth" and "unsloth" in made_of["versions"]
        for column, limits in (("loss", {"abs": CLOSE}), ("grad_norm", {"rel": 0.01, "abs": 1e-6})):
            wanted, found = plain.losses(method, column), fast.losses(method, column)
            assert len(found) == steps
            if found != pytest.approx(wanted, **limits):
                apart[f"{method} {column}"] = [wanted, found]
    assert not apart, json.dumps(apart, indent=1)


def test_a_chain_of_two_adapters_is_trained_as_by_transformers(prepare, train):
    def chain(params):
        steps = steps_of(params, LORA, methods=("sft", "dpo"))
        return steps | {"dpo": steps["dpo"] | {"from": "sft"}}

    plain = train(prepare("plain", "transformers", chain), ["sft", "dpo"], None)
    fast = train(prepare("fast", "unsloth", chain), ["sft", "dpo"], "cpu")
    for trained in (plain, fast):
        folder = trained.project.folder / "models/dpo/adapters"
        assert sorted(path.name for path in folder.iterdir()) == ["00_sft", "01_dpo"]
    compare(plain, fast, ["sft", "dpo"])
