"""The folder of documents for other people, and how each is written: the same build gives the same bytes.

provenance/models/<step>.intoto.json       the model's provenance (model.py)
    provenance/models/<step>.cdx.json          its bill of materials, as CycloneDX (bom.py)
    provenance/datasets/<d>.croissant.json     a dataset, as Croissant with PROV-O (croissant.py)
    provenance/models/<step>.intoto.dsse.json, <step>.sig   from `tilth sign`: the signed statement, the signature of the model's files
"""

import json
import os
from pathlib import Path
from typing import Any

from validators.problems import Problem, Problems

FOLDER = Path("provenance")


def statement_path(step: str) -> Path:
    return FOLDER / "models" / f"{step}.intoto.json"


def bom_path(step: str) -> Path:
    return FOLDER / "models" / f"{step}.cdx.json"


def envelope_path(step: str) -> Path:
    return FOLDER / "models" / f"{step}.intoto.dsse.json"


def signature_path(step: str) -> Path:
    return FOLDER / "models" / f"{step}.sig"


def croissant_path(dataset: str) -> Path:
    return FOLDER / "datasets" / f"{dataset}.croissant.json"


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document with one atomic rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text_of(document), encoding="utf-8", newline="\n")
    os.replace(partial, path)


def text_of(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read(path: Path, what: str, hint: str) -> dict[str, Any]:
    """The JSON object in a file. Raises Problems where there is none."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Problems([Problem(str(path), "is not there", what, hint)]) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Problems([Problem(str(path), f"cannot be read: {reason}", what, hint)]) from None
    if not isinstance(document, dict):
        raise Problems([Problem(str(path), f"found {type(document).__name__}", what, hint)])
    return document
