"""Put the base model into `models/base`, so that its bytes are part of the lineage of all that is built on it.

params base -> models/base/

`base.model` is `tiny` (made on the spot), a local folder, or a Hub id with a pinned revision.
"""

import os
import shutil
from pathlib import Path

from stages._models import BASE, save_tiny
from stages._params import read_params
from validators._problems import Problem, Problems

# what a model needs to be loaded, and its card and license; pickles are left where they are
FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*"]


def main():
    base = read_params()["base"]
    partial = BASE.with_name("base.partial")
    shutil.rmtree(partial, ignore_errors=True)
    fetch(base["model"], base.get("revision"), partial)
    if not any(partial.glob("*.safetensors")):
        pickles = ", ".join(
            sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in Path(base["model"]).glob(pattern))
        )
        raise Problems(
            [
                Problem(
                    "base.model",
                    f"{base['model']!r} has no safetensors" + (f", only {pickles}" if pickles else ""),
                    "weights as *.safetensors; pickles can run code and are never loaded",
                    "save the model with save_pretrained, which writes safetensors",
                )
            ]
        )
    shutil.rmtree(BASE, ignore_errors=True)
    os.replace(partial, BASE)
    size = sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file())
    print(f"base: {base['model']}, {size / 1e6:,.1f} MB")


def fetch(model, revision, folder):
    """Make, copy or download a model into `folder`."""
    if model == "tiny":
        save_tiny(folder)
    elif Path(model).is_dir():
        folder.mkdir(parents=True)
        for pattern in FILES:
            for path in sorted(path for path in Path(model).glob(pattern) if path.is_file()):
                shutil.copyfile(path, folder / path.name)
    else:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            snapshot_download(model, revision=revision, local_dir=folder, allow_patterns=FILES)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise Problems(
                [
                    Problem(
                        "base.model",
                        f"{model!r} at revision {revision!r} could not be downloaded: {error}",
                        "a Hub id with an existing revision, a local folder, or tiny",
                        "check the id, the revision and the network; `hf auth login` for gated models",
                    )
                ]
            ) from None
        shutil.rmtree(folder / ".cache", ignore_errors=True)
