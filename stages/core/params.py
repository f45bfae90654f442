"""The params as the stages read them: resolved by `check`, one file a stage with what it reads (`stages/core/stage_params.py`)."""

import json
from pathlib import Path
from typing import Any

PARAMS_FOLDER = Path(".build/params")
Params = dict[str, Any]  # params.yaml with every default filled in, or a part of it


def read_params(*stage: str) -> Params:
    """What a stage reads of the params, shaped as params.yaml is, with every default filled in.

    stage: its name, and that of its dataset or step where it has one: `read_params("curate", "chat")`.
    """
    return json.loads(Path(f"{PARAMS_FOLDER.joinpath(*stage)}.json").read_text(encoding="utf-8"))


def read_engine() -> str:
    """`local` or `ray`. No stage depends on it: the bytes are the same."""
    return read_params("engine")["engine"]
