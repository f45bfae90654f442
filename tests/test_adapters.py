"""Chains: what a step starts from, what it is compared with, and what it writes, for adapters and full weights."""

import json
import shutil

import pytest

from stages.training import adapters as adapters_module
from stages.training.models import BASE, adapters, load_model, save_tiny_model

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
PARENTS = {"adapted": LORA, "full": None}


def test_an_adapter_is_written_without_pickles_paths_or_random_order(tmp_path):
    (tmp_path / "ref").mkdir()
    for name in ("adapter_model.safetensors", "training_args.bin", "README.md", "ref/adapter_model.safetensors"):
        (tmp_path / name).write_text(name)
    config = {"target_modules": ["v_proj", "q_proj"], "base_model_name_or_path": "/some/where", "r": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    adapters_module.tidy_adapter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written == {"base_model_name_or_path": "models/base", "r": 4, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(
    ("mapping", "kept"),
    [({"unsloth_fixed": True, "parent_library": "x"}, None), ({"parent_library": "x"},) * 2, (None, None)],
)
def test_an_adapter_says_nothing_of_what_unsloth_had_loaded(tmp_path, mapping, kept):
    (tmp_path / "adapter_model.safetensors").write_text("")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"auto_mapping": mapping}))
    adapters_module.tidy_adapter(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["auto_mapping"] == kept


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_full_weights_have_no_path_of_the_machine_and_a_tied_head_once(tmp_path, tied):
    import torch
    from safetensors.torch import load_file, save_file

    settings = {"tie_word_embeddings": tied, "vocab_size": 3}
    added = {"model_name": ".work/sft/5f1c/start", "unsloth_version": "2026.10.9"}
    (tmp_path / "config.json").write_text(json.dumps(settings | added))
    embedding = torch.ones(3, 2)
    save_file({"model.embed_tokens.weight": embedding}, tmp_path / "model-1.safetensors", {"format": "pt"})
    save_file({"lm_head.weight": embedding, "x": embedding.clone()}, tmp_path / "model-2.safetensors", {"format": "pt"})
    index = {"metadata": {"total_size": 72}, "weight_map": {"lm_head.weight": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    before = (tmp_path / "model-1.safetensors").read_bytes()
    adapters_module.tidy_weights(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == settings
    assert (tmp_path / "model-1.safetensors").read_bytes() == before
    assert list(load_file(tmp_path / "model-2.safetensors")) == (["x"] if tied else ["lm_head.weight", "x"])
    left = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert (
        left["metadata"]["total_size"] == (48 if tied else 72) and ("lm_head.weight" in left["weight_map"]) is not tied
    )


def test_weights_to_which_nothing_was_added_stay_as_they_are(tmp_path):
    (tmp_path / "config.json").write_text('{"b": 1,   "a": 2}')
    adapters_module.tidy_weights(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"b": 1,   "a": 2}'


@pytest.mark.slow
def test_a_chain_is_copied_with_the_full_weights_that_it_stands_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(BASE)
    full, child = tmp_path / "models/full", tmp_path / "models/child"
    save_tiny_model(full)
    (full / "made_of.json").write_text("{}")
    (full / "adapters/00_a").mkdir(parents=True)
    child.mkdir()
    shutil.rmtree(child)
    adapters_module.copy_chain(full, child)
    assert [path.name for path in adapters(child)] == ["00_a"]
    assert (child / "model.safetensors").exists() and not (child / "made_of.json").exists()


# -- trained chains -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    """A project with two models to start from, far enough from the base: adapters, and full weights."""
    import os

    project = built.copy(tmp_path_factory.mktemp("adapters") / "copy")
    before = os.getcwd()
    os.chdir(project.folder)
    try:
        for name, lora in PARENTS.items():
            rate = 0.05 if lora else 0.01
            train(project, name, "sft", lora, {"learning_rate": rate, "max_steps": 4})
    finally:
        os.chdir(before)
    return project


def train(project, name, method, lora, args, parent="base"):
    """Train a step of the project; gives its trainer, whose model is the trained one."""
    from stages import preflight
    from stages import train as stage

    params = project.read_params()
    rewards = {"rewards": ["one_word"]} if method == "grpo" else {}
    step = params["methods"][method] | {"from": parent, "lora": lora} | rewards
    params["steps"][name] = step | {"args": step["args"] | args}
    project.write_checked(params)
    preflight.main()
    seen, make = {}, stage.make_trainer

    def watched(*arguments):
        seen["trainer"] = make(*arguments)
        return seen["trainer"]

    stage.make_trainer = watched
    try:
        stage.main(name)
    finally:
        stage.make_trainer = make
    return seen["trainer"]


def logits(model):
    import torch

    with torch.inference_mode():
        return model.eval()(input_ids=torch.arange(7, 40)[None]).logits


def reference_logits(trainer):
    """What the trainer compares with: a model of its own, or its model without the adapter that it trains."""
    if trainer.ref_model is not None:
        return logits(trainer.ref_model)
    with trainer.model.disable_adapter():
        return logits(trainer.model)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "grpo"])
@pytest.mark.parametrize(
    ("parent", "lora"),
    [("adapted", LORA), ("adapted", None), ("full", None), ("full", LORA)],
    ids=["adapters after adapters", "full after adapters", "full after full", "adapters after full"],
)
def test_the_reference_is_the_model_that_the_step_started_from(project, monkeypatch, method, parent, lora):
    import torch

    monkeypatch.chdir(project.folder)
    shutil.rmtree(project.folder / ".work", ignore_errors=True)
    args = {"max_steps": 2, "learning_rate": 0.01, "beta": 0.1}
    trainer = train(project, "child", method, lora, args, parent)
    expected = logits(load_model(project.folder / "models" / parent))
    assert not torch.allclose(logits(load_model(BASE)), expected, atol=0.1)
    assert torch.allclose(reference_logits(trainer), expected, atol=1e-4)


@pytest.mark.slow
def test_an_adapter_begins_as_the_seed_says_whatever_it_is_added_to(project, monkeypatch):
    import torch

    from stages import train as stage

    monkeypatch.chdir(project.folder)
    shutil.rmtree(project.folder / ".work", ignore_errors=True)
    make, begun = stage.make_trainer, []

    def watched(*arguments):
        trainer = make(*arguments)
        parts = {name: part.detach().clone() for name, part in trainer.model.named_parameters() if "lora_A" in name}
        begun.append(parts)
        return trainer

    monkeypatch.setattr(stage, "make_trainer", watched)
    for parent in ("base", "adapted"):
        train(project, "child", "dpo", LORA, {"max_steps": 1, "beta": 0.1, "learning_rate": 0.01}, parent)
    alone, in_chain = begun
    assert alone and alone.keys() == in_chain.keys()
    assert all(torch.equal(alone[name], in_chain[name]) for name in alone)


@pytest.mark.slow
@pytest.mark.parametrize("parent", PARENTS)
def test_a_chain_of_trained_adapters_is_the_trained_model_loaded_in_pieces_and_merged(
    project, monkeypatch, tmp_path, parent
):
    import torch

    monkeypatch.chdir(project.folder)
    shutil.rmtree(project.folder / ".work", ignore_errors=True)
    trainer = train(project, "child", "orpo", LORA, {"max_steps": 3, "learning_rate": 0.05}, parent)
    child = project.folder / "models/child"
    names = {"adapted": ["00_adapted", "01_child"], "full": ["00_child"]}
    assert [path.name for path in adapters(child)] == names[parent]
    expected, in_pieces = logits(trainer.model), load_model(child)
    in_pieces.save_pretrained(tmp_path / "merged")
    assert not torch.allclose(logits(load_model(project.folder / "models" / parent)), expected, atol=0.1)
    assert torch.allclose(logits(in_pieces), expected, atol=1e-4)
    assert torch.equal(logits(load_model(tmp_path / "merged")), logits(in_pieces))


@pytest.mark.slow
def test_adapters_in_4_bit_start_from_the_merged_chain_on_disk(project, monkeypatch, tmp_path):
    import torch
    from transformers import TrainingArguments

    monkeypatch.chdir(project.folder)
    parent = project.folder / "models/adapted"
    step = {"backend": "transformers", "lora": LORA, "load_in_4bit": True}
    config = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    started = adapters_module.start_folder(parent, step, tmp_path / "start", config)
    assert started == tmp_path / "start" and not adapters(started)
    assert torch.allclose(logits(load_model(started)), logits(load_model(parent)), atol=1e-5)
    assert adapters_module.start_folder(parent, step | {"load_in_4bit": False}, tmp_path / "start", config) == parent
