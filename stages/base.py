"""Put the base model into `models/base`, so that its bytes are part of the lineage of everything built on it.

params base -> models/base/

`base.model` is `tiny` (a small random model, made here), a local folder or `.gguf` file, or a Hub id with a pinned revision. The
tokenizer settings of params.yaml are written into the folder (`stages/training/template_settings.py`), so that every method, score,
chat and export uses them.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from stages.core.dvc_cache import cache_folder
from stages.core.params import read_params
from stages.training.gguf import unpack
from stages.training.models import BASE, is_safetensors, load_pretrained, save_tiny_model
from stages.training.template_settings import apply_settings, disable_space_cleanup
from validators.problems import Problem, Problems

# what loading a model needs, and its card and license; pickles are not copied
FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def main() -> None:
    base = read_params("base")["base"]
    partial = BASE.with_name("base.partial")
    shutil.rmtree(partial, ignore_errors=True)
    fetch(base["model"], base["revision"], partial)
    disable_space_cleanup(partial)
    if problems := weight_problems(base["model"], partial) or architecture_problems(base["model"], partial):
        raise Problems(problems)
    for line in apply_settings(partial, base):
        print(f"base: {line}")
    shutil.rmtree(BASE, ignore_errors=True)
    os.replace(partial, BASE)
    size = sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file())
    print(f"base: {base['model']}, {size / 1e6:,.1f} MB")


def weight_problems(model: str, folder: Path) -> list[Problem]:
    """What is wrong with the weights of a folder: none, only pickles, files that are cut or not safetensors, missing parts."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(path.name for pattern in PICKLES for path in Path(model).glob(pattern))
        found = f"{model!r} has no safetensors" + (f", only {', '.join(pickles)}" if pickles else "")
        expected = "weights as *.safetensors; pickles can run code and are never loaded"
        hint = "save the model with save_pretrained, which writes safetensors"
        return [Problem("base.model", found, expected, hint)]
    again = "git lfs pull, or download the model again"
    problems = [
        Problem(f"base.model: {path.name}", "cut, or no safetensors", "a whole file", again)
        for path in weights
        if not is_safetensors(path)
    ]
    index = folder / "model.safetensors.index.json"
    named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.exists() else set()
    missing = sorted(named - {path.name for path in weights})
    expected = f"the file that {index.name} names"
    return problems + [Problem(f"base.model: {name}", "not there", expected, again) for name in missing]


def architecture_problems(model: str, folder: Path) -> list[Problem]:
    """Why transformers cannot read a model's config and tokenizer without code of the model's own."""
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    problems = []
    for kind in (AutoConfig, AutoTokenizer):
        try:
            part = load_pretrained(kind, folder)
        except Problems as error:
            problems += [replace(problem, where=f"base.model: {model}") for problem in error.problems]
            continue
        if kind is AutoConfig and part.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            found, hint = f"{part.model_type!r} models write no text", "take a causal language model"
            problems.append(Problem(f"base.model: {model}", found, "a model that transformers generates with", hint))
    return list(dict.fromkeys(problems))


def link_problems(folder: Path, paths: Iterable[Path]) -> list[Problem]:
    """A Problem for each link that leads out of the model's folder: the target may be any file of this machine, and would be shared.

    Two links are fine. In a cache of the Hub, files of `snapshots/<commit>/` are links to `blobs/`, beside `snapshots`. With
    `cache.type symlink`, DVC's files are links into its cache.
    """
    home, cache = folder.resolve(), cache_folder().resolve()
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else None
    problems = []
    for path in (path for path in paths if path.is_symlink()):
        target = Path(os.path.realpath(path))  # `resolve` raises on links in a circle
        if not target.is_relative_to(home) and target.parent != blobs and not target.is_relative_to(cache):
            hint = "replace the link by the file, if it belongs to the model"
            found = "a link that leaves the folder"
            problems.append(Problem(f"base.model: {path}", found, "a file of the model", hint))
        elif not target.exists():
            hint = "download the model again"
            problems.append(Problem(f"base.model: {path}", "a link to a missing file", "a file of the model", hint))
    return problems


def fetch(model: str, revision: str | None, folder: Path) -> None:
    """Make, unpack, copy or download a model into `folder`."""
    if model == "tiny":
        save_tiny_model(folder)
    elif Path(model).suffix == ".gguf":
        unpack(Path(model), folder)
    elif Path(model).is_dir():
        paths = sorted({path for pattern in FILES for path in Path(model).glob(pattern) if not path.is_dir()})
        if problems := link_problems(Path(model), paths):
            raise Problems(problems)
        folder.mkdir(parents=True)
        for path in paths:
            shutil.copyfile(path, folder / path.name)
    else:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RevisionNotFoundError

        try:
            snapshot_download(model, revision=revision, local_dir=folder, allow_patterns=FILES)
        except RevisionNotFoundError:
            found, hint = (
                f"{model!r} has no revision {revision!r}",
                "copy the commit's 40 digits from its page, Files, History",
            )
            raise Problems([Problem("base.revision", found, "a commit of the model", hint)]) from None
        except Exception as error:  # huggingface_hub, httpx and the transfer libraries have no common class of errors
            text = " ".join(str(error).split())[:300]
            found = f"{model!r} at revision {revision!r} could not be downloaded: {type(error).__name__}: {text}"
            hint = "check the id, the revision and the network; `hf auth login` for gated models"
            expected = "a Hub id with an existing revision, a local folder or .gguf file, or tiny"
            raise Problems([Problem("base.model", found, expected, hint)]) from None
        shutil.rmtree(folder / ".cache", ignore_errors=True)
