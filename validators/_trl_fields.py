"""The fields of TRL's configs, read from the installed source.

Importing a config costs ten seconds, as it brings torch; its source says the same in a fraction of one.

    trl_fields("dpo")["beta"] -> "float"
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path


@cache
def trl_fields(method):
    """{field: annotation} of TRL's config for a method, read from the installed source.

    Importing the config costs ten seconds, as it brings torch; its source says the same in a fraction of one.
    """
    trl, transformers = (
        Path(importlib.util.find_spec(package).submodule_search_locations[0]) for package in ("trl", "transformers")
    )
    own = trl / "experimental/orpo/orpo_config.py" if method == "orpo" else trl / f"trainer/{method}_config.py"
    sources = {
        transformers / "training_args.py": "TrainingArguments",
        trl / "trainer/base_config.py": "_BaseConfig",
        own: f"{method.upper()}Config",
    }
    fields = {}
    for path, name in sources.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
        fields |= {
            node.target.id: ast.unparse(node.annotation)
            for node in body
            if isinstance(node, ast.AnnAssign) and node.target.id[0] != "_"
        }
    return fields


def fits(value, annotation):
    """False where a value is of a type that an annotation such as `float | None` excludes for certain."""
    known = {
        "int": int,
        "float": (int, float),
        "bool": bool,
        "str": str,
        "None": type(None),
        "dict": dict,
        "list": list,
    }
    parts = [part.strip().split("[")[0] for part in annotation.split("|")]
    if not all(part in known for part in parts):
        return True
    return any(isinstance(value, known[part]) and (part == "bool" or not isinstance(value, bool)) for part in parts)
