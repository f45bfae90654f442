"""The datasets that params.yaml has, and a name for another."""

from pathlib import Path, PurePosixPath
from typing import Any


def existing_datasets() -> dict[str, dict[str, Any]]:
    """The datasets of params.yaml; {} if there is no params.yaml, or an empty one, which a command writes (`> params.yaml`)."""
    from validators.params import get_section, read_params_yaml

    path = Path("params.yaml")
    datasets = get_section(read_params_yaml(), "datasets") if path.exists() and path.stat().st_size else {}
    return {name: dataset for name, dataset in datasets.items() if isinstance(dataset, dict)}


def dataset_name(raw: Path) -> str:
    """A valid name for a dataset, from the name of its file."""
    import re

    name = re.sub(r"[^a-z0-9]+", "_", raw.name.split(".")[0].lower()).strip("_")
    # YAML reads a bare null, true or false as a value
    return name if name[:1].isalpha() and name not in ("null", "true", "false") else f"data_{name}".strip("_")


def reads(dataset: dict[str, Any], raw: Path) -> bool:
    """Whether a dataset of params.yaml reads a path: its `raw` is the path, or a folder around it."""
    folder = PurePosixPath(str(dataset.get("raw") or ""))
    return bool(folder.parts) and raw.is_relative_to(folder)


def path_inside(raw: Path) -> Path:
    """Where raw data is, or will be once it is copied, in the project."""
    return Path("data/raw", raw.name) if raw.is_absolute() else raw
