"""The folder of a built model by its name (a step, `base`, or a folder), for `tilth chat`, `serve` and `export`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from validators.problems import Problem

Loaded = TypeVar("Loaded")


def model_folder(model: str, start: Path) -> Path:
    """The folder of a model: `models/<name>`, or a folder relative to `start`, where the user is.

    Raises Problems where neither the step nor the folder exists, or where the folder holds no model that can be loaded.
    """
    from validators.params import get_section, read_params_yaml
    from validators.problems import Problem, Problems, did_you_mean

    known = ["base", *get_section(read_params_yaml(), "steps")] if Path("params.yaml").exists() else ["base"]
    folder, given = Path("models", model), start / model
    if model not in known:
        if not given.is_dir():
            hint = did_you_mean(model, known)
            raise Problems([Problem(f"model {model!a}", "no such step and no such folder", "", hint)])
        folder = (
            given.resolve().relative_to(Path.cwd()) if given.resolve().is_relative_to(Path.cwd()) else given.resolve()
        )
    problem = model_problem(folder, model if model in known else None)
    if problem:
        raise Problems([problem])
    return folder


def model_problem(folder: Path, step: str | None) -> "Problem | None":
    """Why a folder cannot be loaded as a model, or None. step: its name in params.yaml, None for any folder."""
    from stages.training.models import BASE, adapters
    from validators.problems import Problem

    again = "dvc repro base" if step == "base" else f"dvc repro train@{step}"
    if not folder.is_dir():
        return Problem(str(folder), "not built yet", "", f"{again}, or dvc pull if a colleague built it")
    if (folder / "config.json").exists():
        return None
    if not adapters(folder):
        alone = (folder / "adapter_config.json").exists()
        found = "an adapter alone" if alone else "no model: neither config.json nor adapters/"
        hint = "name the step that it belongs to" if alone else again if step else "a folder that save_pretrained wrote"
        return Problem(str(folder), found, "a model", hint)
    if not (BASE / "config.json").exists():
        return Problem(str(BASE), f"not built, and {folder} has adapters for it", "", "dvc repro base, or dvc pull")
    return None


def load_or_explain(folder: Path, load: Callable[[], Loaded]) -> Loaded:
    """The result of `load()`. Raises Problems where transformers cannot load the folder."""
    from safetensors import SafetensorError

    from validators.problems import Problem, Problems

    try:
        return load()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        found = " ".join(str(error).split())[:300]
        hint = "only safetensors are read, never pickles; dvc checkout restores what a stage built"
        raise Problems([Problem(str(folder), f"does not load: {found}", "a model of transformers", hint)]) from None
