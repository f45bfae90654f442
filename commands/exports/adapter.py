"""The adapters of a chain as one adapter for PEFT, with the tokenizer and the chat template of its training.

Several adapters become one without any loss:

    export_adapter(Path("models/align"), Path("out")) -> ["one adapter of rank 32, which is sft and align together", ...]

    out/    adapter_config.json, adapter_model.safetensors, tokenizer.json, chat_template.jinja, made_of.json
"""

import json
import shutil
from pathlib import Path
from typing import Any

from commands.exports.merged_model import copy_other_files
from validators.problems import Problem, Problems


def export_adapter(source: Path, folder: Path) -> list[str]:
    """Write the adapters of the chain as one; returns lines for the user. Raises Problems where there is no adapter."""
    from safetensors.torch import load_file, save_file

    from stages.training.models import adapter_weights, adapters, full_weights

    chain = adapters(source)
    if not chain:
        hint = "leave out --adapter, or give the step a `lora:`"
        raise Problems([Problem(str(source), "full weights and no adapter", "a step with lora", hint)])
    configs = [json.loads((path / "adapter_config.json").read_text(encoding="utf-8")) for path in chain]
    tensors = [load_file(adapter_weights(path)) for path in chain]
    config, joined = join_adapters(chain, configs, tensors) if len(chain) > 1 else (configs[0], tensors[0])
    config["base_model_name_or_path"], config["revision"] = base_of_adapter(full_weights(source))
    if (source / "made_of.json").exists():
        shutil.copyfile(source / "made_of.json", folder / "made_of.json")
    save_file(joined, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    # the base at its origin may have other stops; the tokenizer and template of the training are exported
    changed = copy_other_files(full_weights(source), folder, leave=("generation_config.json",))
    names = " and ".join(path.name.split("_", 1)[1] for path in chain)
    return [
        f"one adapter of rank {config['r']}" + (f", which is {names} together" if len(chain) > 1 else ""),
        f"base model: {config['base_model_name_or_path']}"
        + (f" at {config['revision']}" if config["revision"] else ""),
        *changed,
    ]


def join_adapters(
    chain: list[Path], configs: list[dict[str, Any]], tensors: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, tensors) of one adapter that is equivalent to the chain.

    Each adapter adds scaling * B @ A to a weight, and a sum of products is one product of blocks: [B1 B2] @ [A1; A2]. So
    nothing is approximated; the rank is the sum of the ranks. Source: PEFT's `add_weighted_adapter`, type "cat".
    """
    import torch

    refuse_unjoinable(chain, configs)
    joined = {}
    for key in sorted(set().union(*tensors)):
        if ".base_layer." in key:
            continue  # PEFT also saves the embedding that it adapts; in a chain that has the earlier adapters merged in
        example = next(item[key] for item in tensors if key in item)
        blocks, is_a = [], ".lora_A." in key or key.endswith(".lora_embedding_A")
        for config, item in zip(configs, tensors, strict=True):
            shape = (config["r"], example.shape[1]) if is_a else (example.shape[0], config["r"])
            # an adapter without this weight adds nothing to it
            block = item.get(key, torch.zeros(shape, dtype=example.dtype))
            blocks.append(block if is_a else block * scaling(config))
        joined[key] = torch.cat(blocks, dim=0 if is_a else 1).contiguous()
    rank = sum(config["r"] for config in configs)
    return configs[-1] | {
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "target_modules": target_modules(configs),
    }, joined


def target_modules(configs: list[dict[str, Any]]) -> list[str] | str:
    """The modules that the adapters change: their names, or the pattern that all adapters share."""
    modules = [config["target_modules"] for config in configs]
    return modules[0] if all(item == modules[0] for item in modules) else sorted(set().union(*modules))


def scaling(config: dict[str, Any]) -> float:
    return config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])


def refuse_unjoinable(chain: list[Path], configs: list[dict[str, Any]]) -> None:
    """Raise Problems where an adapter of a chain is more than low-rank products: such adapters cannot be joined."""
    unjoinable = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    problems = [
        Problem(str(path), f"{key} {config[key]!r}: it cannot be joined with the others", "", "leave out --adapter")
        for path, config in zip(chain, configs, strict=True)
        for key in unjoinable
        if config.get(key)
    ]
    patterns = {config["target_modules"] for config in configs if isinstance(config["target_modules"], str)}
    if len(patterns) > 1 or (patterns and not all(isinstance(config["target_modules"], str) for config in configs)):
        problems.append(
            Problem(
                str(chain[-1]),
                "target_modules has another pattern than other adapters",
                "one pattern",
                "leave out --adapter",
            )
        )
    if problems:
        raise Problems(problems)


def base_of_adapter(folder: Path) -> tuple[str, str | None]:
    """(name, revision) of an adapter's base model: on the Hub, or the folder that models/base was copied from.

    PEFT cannot load a .gguf file, so the base is then models/base, which was made from it.
    """
    from stages.training.models import BASE
    from validators.params import read_params_yaml

    base = read_params_yaml()["base"] if Path("params.yaml").exists() else {}
    model, revision = str(base.get("model", "tiny")), base.get("revision")
    if folder != BASE or model == "tiny" or model.endswith(".gguf"):
        return folder.as_posix(), None
    # a folder has no revision, on this machine or another
    return model, None if Path(model).exists() else revision
