"""Runs a script in a Python process without the project: neither this folder nor PYTHONPATH is on its path.

run_isolated(plain_transformers.__file__, {"folder": "out", ...}) -> ({"prompts": ..., "answers": ...}, [logits of each row])
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from validators.problems import Problem, Problems


def run_isolated(
    script: str, request: dict[str, Any], python: str = sys.executable
) -> tuple[dict[str, Any], list[Any]]:
    """(the content of the script's said.json, its arrays in order). Raises Problems where the process fails."""
    import numpy as np

    with tempfile.TemporaryDirectory() as place:
        request_file, result_file = Path(place, "asked.json"), Path(place, "said.json")
        request_file.write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [python, "-I", script, str(request_file), place],
            env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if done.returncode or not result_file.exists():
            last = " ".join(done.stderr.split())[-300:]
            found = f"the process that loads the export ended with code {done.returncode}: {last}"
            raise Problems([Problem("tilth export --check", found, "", "more memory, or --no-check")])
        arrays = sorted(Path(place).glob("*.npy"), key=lambda path: int(path.stem.rpartition("-")[2]))
        return json.loads(result_file.read_text(encoding="utf-8")), [np.load(path) for path in arrays]
