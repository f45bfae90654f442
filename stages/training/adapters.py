"""The model folder that a step starts from, and the one that it writes: adapters or full weights.

models/sft/adapters/00_sft                       step sft with lora, from base
models/dpo/adapters/00_sft, 01_dpo               step dpo with lora, from sft: loads on models/base alone
models/kto/model.safetensors                     step kto without lora, from dpo: full weights alone
"""

import json
import shutil
from pathlib import Path
from typing import Any

from stages.training.checkpoints import clear_path
from stages.training.models import BASE, adapters, full_weights, load_model, load_tokenizer
from stages.training.template_settings import copy_settings
from stages.training.types import Config, ResolvedStep, Tokenizer, Trainer

UNSLOTH_KEYS = {
    "model_name",
    "unsloth_version",
}  # keys that Unsloth adds to config.json: the folder that it loaded, and its version


def start_folder(parent: Path, step: ResolvedStep, folder: Path, config: Config) -> Path:
    """The folder that a step starts from: its parent, or the parent's chain merged in float32 and saved in `folder`.

    A step without adapters needs the saved chain for its reference model: TRL loads that from where the model says it came
    from, and after a chain of adapters that would be `models/base`. Unsloth and 4-bit weights load from a folder only.
    """
    merged = step["backend"] == "transformers" and step["lora"] and not step.get("load_in_4bit")
    if not adapters(parent) or merged:
        return parent
    with config.main_process_first(local=False):
        if config.process_index == 0:
            load_model(parent).save_pretrained(clear_path(folder))
            save_tokenizer(load_tokenizer(parent), full_weights(parent), folder)
    return folder


def write_model(trainer: Trainer, step: ResolvedStep, folder: Path, facts: dict[str, Any]) -> None:
    """Write the trained model: safetensors only, no pickle, no path of this machine, keys in a fixed order.

    Every process must call this, since sharded weights are gathered from all; the first one writes.
    """
    parent, first = Path("models", step["from"]), trainer.is_world_process_zero()
    target = folder / "adapters" / f"{len(adapters(parent)):02}_{step['step']}" if step["lora"] else folder
    if first:
        clear_path(folder)
        if step["lora"]:
            copy_chain(parent, folder)
    trainer.save_model(str(target))
    if not first:
        return
    if step["lora"]:
        tidy_adapter(target)
    else:
        tidy_weights(target)
        save_tokenizer(trainer.processing_class, full_weights(parent), target)
    for pickle in target.glob("*.bin"):
        pickle.unlink()
    (folder / "made_of.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def save_tokenizer(tokenizer: Tokenizer, source: Path, folder: Path) -> None:
    """Write a tokenizer with the settings of its chat template, without a trace of how it was loaded."""
    tokenizer.save_pretrained(folder)
    copy_settings(source, folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers writes whether it was offline, so the bytes would depend on the environment
    config.pop("local_files_only", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_chain(parent: Path, folder: Path) -> None:
    """Copy what the new adapter needs beneath it: the parent's full weights, unless they are the base's, and its adapters."""
    if parent != BASE and full_weights(parent) == parent:
        shutil.copytree(parent, folder, ignore=shutil.ignore_patterns("adapters", "made_of.json"))
    for adapter in adapters(parent):
        shutil.copytree(adapter, folder / "adapters" / adapter.name)


def tidy_adapter(folder: Path) -> None:
    """Make an adapter's config reproducible: PEFT writes target modules in random order, and the path of the base."""
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter_model.safetensors"):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    config_path = folder / "adapter_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "models/base"
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    if "unsloth_fixed" in (config.get("auto_mapping") or {}):
        config["auto_mapping"] = None  # the class that Unsloth had loaded; PEFT needs the task type only
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def tidy_weights(folder: Path) -> None:
    """Remove from full weights what Unsloth and sharding add: a path of this machine, a second copy of a tied head."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if added := config.keys() & UNSLOTH_KEYS:
        kept = {key: value for key, value in config.items() if key not in added}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if (config | config.get("text_config", {})).get("tie_word_embeddings"):
        for weights in sorted(folder.glob("*.safetensors")):
            drop_tensor(weights, "lm_head.weight")


def drop_tensor(path: Path, name: str) -> None:
    """Remove a tensor from a safetensors file, and from the index beside it."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        if name not in file.keys():  # noqa: SIM118 - not a dict
            return
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    dropped = tensors.pop(name)
    save_file(tensors, path, metadata)
    index_path = path.parent / "model.safetensors.index.json"
    if index_path.exists():
        index = json.loads(index_path.read_text(encoding="utf-8"))
        del index["weight_map"][name]
        index["metadata"]["total_size"] -= dropped.nbytes
        index_path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
