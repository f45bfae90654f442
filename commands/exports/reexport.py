"""Compares an exported folder with a new export of its model, byte by byte: for `tilth verify DIR` inside of the repository."""

import json
import tempfile
from pathlib import Path

from commands.exports.adapter import export_adapter
from commands.exports.merged_model import export_merged
from commands.statements.exported_folder import BOM_FILE, ENVELOPE_FILE, RECEIPT_FILE, SIGNATURE_FILE, STATEMENT_FILE
from stages.core.hashes import sha256
from validators.problems import Problem


def changed_files(step: str, folder: Path) -> list[Problem]:
    """Problems with each file of an exported folder that differs from a new export of the model."""
    source, problems = Path("models", step), []
    with tempfile.TemporaryDirectory() as temporary:
        new_export = Path(temporary)
        if (folder / "adapter_config.json").is_file():
            export_adapter(source, new_export)
        else:
            config = json.loads((folder / "config.json").read_bytes())
            export_merged(source, new_export, config.get("dtype") or config.get("torch_dtype") or "auto")
        documents = {STATEMENT_FILE, ENVELOPE_FILE, BOM_FILE, SIGNATURE_FILE, RECEIPT_FILE, "README.md"}
        names = {path.name for path in folder.iterdir()} - documents - {path.name for path in folder.glob("*.gguf")}
        for name in sorted(names | {path.name for path in new_export.iterdir()}):
            first, second = (sha256(side / name) if (side / name).is_file() else None for side in (folder, new_export))
            if first != second:
                expected = f"{second}, as an export of {source} gives"
                problems.append(Problem(str(folder / name), f"its bytes hash to {first}", expected, "tilth export"))
    return problems
