"""The real Unsloth trains what transformers trains: the same losses, on float32, from the same rows and adapters."""

import json

import pytest
from trainings import LORA, METHODS, SEEDED, steps_of

pytestmark = pytest.mark.long
pytest_plugins = ["trainings"]

CLOSE = 1e-3


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("way", ["cpu", "gpu-float32"])
def test_losses_are_those_of_transformers(prepare, train, way, lora):
    args = {"bf16": False} if way.startswith("gpu") else {}
    plain = train(prepare("plain", "transformers", lambda params: steps_of(params, lora)), METHODS, None)
    fast = train(prepare("fast", "unsloth", lambda params: steps_of(params, lora, args)), METHODS, way)
    apart = {}
    for method in METHODS:
        made_of = fast.made_of(method)
        assert made_of["backend"] == "unsloth" and "unsloth" in made_of["versions"]
        assert len(fast.losses(method)) == 3
        for column, limit in (("loss", CLOSE), ("grad_norm", None)):
            pairs = list(zip(plain.losses(method, column), fast.losses(method, column), strict=True))
            limits = [limit or 0.01 * wanted for wanted, _ in pairs]
            if any(abs(wanted - found) > most for (wanted, found), most in zip(pairs, limits, strict=True)):
                apart[f"{method} {column}"] = pairs
    assert not apart, json.dumps(apart, indent=1)


@pytest.mark.parametrize("way", ["cpu", "gpu-float32"])
def test_a_chain_of_two_adapters_is_trained_as_by_transformers(prepare, train, way):
    args = {"bf16": False} if way.startswith("gpu") else {}

    def chain(params):
        steps = steps_of(params, LORA, args, ("sft", "dpo"))
        return steps | {"dpo": steps["dpo"] | {"from": "sft"}}

    # transformers draws adapters after it has loaded the chain, which draws too; here from the seed, as Unsloth does
    plain = train(prepare("plain", "transformers", chain), ["sft", "dpo"], None, SEEDED)
    fast = train(prepare("fast", "unsloth", chain), ["sft", "dpo"], way)
    for trained in (plain, fast):
        folder = trained.project.folder / "models/dpo/adapters"
        assert sorted(path.name for path in folder.iterdir()) == ["00_sft", "01_dpo"]
    assert fast.losses("dpo") == pytest.approx(plain.losses("dpo"), abs=CLOSE)
    assert fast.losses("dpo", "grad_norm") == pytest.approx(plain.losses("dpo", "grad_norm"), rel=0.01)
