"""The params of a stage, as `check` writes them: one file for each stage, with what it reads (`stages/core/stage_params.py`)."""

import json
from pathlib import Path
from typing import Any

PARAMS_FOLDER = Path(".build/params")
Params = dict[str, Any]  # params.yaml with every default filled in, or a part of it


def read_params(*stage: str) -> Params:
    """The params that a stage reads, in the shape of params.yaml, with every default filled in.

    stage: its name, then the name of its dataset or step if it has one: `read_params("curate", "chat")`.
    """
    return json.loads(Path(f"{PARAMS_FOLDER.joinpath(*stage)}.json").read_text(encoding="utf-8"))


def read_engine() -> str:
    """`local` or `ray`. No stage depends on this file, as both engines write the same bytes."""
    return read_params("engine")["engine"]
