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
    own, name = _own(method)
    sources = {
        _package("transformers") / "training_args.py": "TrainingArguments",
        _package("trl") / "trainer/base_config.py": "_BaseConfig",
        own: name,
    }
    fields = {}
    for path, name in sources.items():
        fields |= {node.target.id: ast.unparse(node.annotation) for node in _declared(path, name)}
    return fields


@cache
def trl_default(method, field):
    """The default of a field that TRL's config of a method declares itself; None where it is not told or is no constant."""
    nodes = {node.target.id: node for node in _declared(*_own(method))}
    call = nodes[field].value if field in nodes else None
    told = [word.value for word in getattr(call, "keywords", []) if word.arg == "default"]
    return told[0].value if told and isinstance(told[0], ast.Constant) else None


def _package(name):
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def _own(method):
    """(file, class) of TRL's config for a method."""
    trl = _package("trl")
    own = trl / "experimental/orpo/orpo_config.py" if method == "orpo" else trl / f"trainer/{method}_config.py"
    return own, f"{method.upper()}Config"


def _declared(path, name):
    """The annotated assignments of a class in a source file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return [node for node in body if isinstance(node, ast.AnnAssign) and node.target.id[0] != "_"]


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
