"""Unsloth trains every method, and writes the models that we write: nothing of its own is in them."""

import json

import pytest
from safetensors import safe_open
from trainings import LORA, METHODS, steps_of

pytestmark = pytest.mark.long
pytest_plugins = ["trainings"]


def contents(folder):
    """{file: what is in it without its values} of a model: keys of JSON, names and types of tensors."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json" and name not in ("made_of.json", "tokenizer.json"):
            found[name] = json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, "np") as file:
                found[name] = {key: str(file.get_slice(key).get_dtype()) for key in file.keys()}  # noqa: SIM118
        elif path.is_file():
            found[name] = None
    return found


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_every_method_is_trained_and_its_model_has_nothing_of_unsloths(prepare, train, lora):
    plain = train(prepare("plain", "transformers", lambda params: steps_of(params, lora)), METHODS, None)
    fast = train(prepare("fast", "unsloth", lambda params: steps_of(params, lora)), METHODS, "cpu")
    for method in METHODS:
        assert fast.made_of(method)["device"] == "cpu"
        wanted, found = (contents(trained.project.folder / "models" / method) for trained in (plain, fast))
        assert found == wanted, method
    assert not [path for path in fast.project.folder.iterdir() if "unsloth" in path.name]
