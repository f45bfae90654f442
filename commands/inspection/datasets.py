"""The datasets that params.yaml has, and a name for another."""

from pathlib import Path
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
