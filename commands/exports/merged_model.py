"""A model as one folder that plain transformers load: the whole chain merged in float32 and cast at the end, the other files copied.

export_merged(Path("models/align"), Path("out"), "auto") -> ["2 adapters merged in float32, saved in bfloat16"]

out/    config.json, model.safetensors, generation_config.json, tokenizer.json, chat_template.jinja, made_of.json
"""

import json
import shutil
from pathlib import Path
from typing import Any

# the files beside the weights of a model folder: copied byte by byte
OTHER_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHT_FILES = ("config.json", "model.safetensors.index.json", "made_of.json", "adapter_config.json")
TEMPLATE_FILE = "chat_template.jinja"


def export_merged(source: Path, folder: Path, dtype: str) -> list[str]:
    """Write the model with its whole chain merged; returns lines for the user."""
    from commands.builds.model_folders import load_or_explain
    from stages.training.models import adapters, full_weights, load_model

    chain, base = adapters(source), full_weights(source)
    dtype = dtype_of(source) if dtype == "auto" else dtype
    model = load_or_explain(source, lambda: load_model(source, dtype))
    model.save_pretrained(folder)
    changed = copy_other_files(base, folder)
    if (source / "made_of.json").exists():
        shutil.copyfile(source / "made_of.json", folder / "made_of.json")
    merged = {0: "", 1: "1 adapter merged in float32, "}.get(len(chain), f"{len(chain)} adapters merged in float32, ")
    return [f"{merged}saved in {dtype}", *changed]


def dtype_of(source: Path) -> str:
    """The dtype of the weights of the original model: full weights are trained, and so saved, in float32."""
    from stages.training.models import BASE, full_weights

    origin = BASE if source.parent == BASE.parent else full_weights(source)
    config = json.loads((origin / "config.json").read_text(encoding="utf-8"))
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def copy_other_files(base: Path, folder: Path, leave: tuple[str, ...] = ()) -> list[str]:
    """Copy the tokenizer's files and the like; returns lines about changed files."""
    for path in sorted(path for pattern in OTHER_FILES for path in base.glob(pattern)):
        if path.name not in (*WEIGHT_FILES, *leave):
            shutil.copyfile(path, folder / path.name)
    return write_template_defaults(folder)


def write_template_defaults(folder: Path) -> list[str]:
    """Write `base.chat_template_kwargs` into the chat template as defaults: other programs do not read rendering.json."""
    from stages.training.template_settings import TOKENIZER_FILE, read_json, read_settings

    kwargs = read_settings(folder)["chat_template_kwargs"]
    path = folder / TEMPLATE_FILE
    text = (
        path.read_text(encoding="utf-8") if path.exists() else read_json(folder / TOKENIZER_FILE).get("chat_template")
    )
    if not kwargs or not isinstance(text, str):
        return []
    path.write_text(template_defaults(kwargs) + text, encoding="utf-8", newline="\n")
    return [f"{TEMPLATE_FILE} has {', '.join(kwargs)} of base.chat_template_kwargs as its own defaults"]


def template_defaults(values: dict[str, Any]) -> str:
    """The beginning of a chat template that sets these defaults; whoever renders it may still pass other values."""
    # Jinja reads the repr of JSON values
    return "".join(f"{{% set {key} = {key} if {key} is defined else {value!r} %}}" for key, value in values.items())
