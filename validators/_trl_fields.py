"""The fields of TRL's configs, read from the installed source.

Importing a config takes ten seconds, as it imports torch. Reading its source takes a fraction of one.

    trl_fields("dpo")["beta"] -> "float"
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path


@cache
def trl_fields(method: str) -> dict[str, str]:
    """{field: annotation} of TRL's config for a method, inherited fields included."""
    own, name = _config_class(method)
    sources = {
        _package_folder("transformers") / "training_args.py": "TrainingArguments",
        _package_folder("trl") / "trainer/base_config.py": "_BaseConfig",
        own: name,
    }
    fields: dict[str, str] = {}
    for path, name in sources.items():
        fields |= {field: ast.unparse(node.annotation) for field, node in _declared_fields(path, name).items()}
    return fields


@cache
def trl_default(method: str, field: str) -> object:
    """The default of a field that TRL's config of a method itself declares; None where there is none or it is no constant."""
    nodes = _declared_fields(*_config_class(method))
    call = nodes[field].value if field in nodes else None
    defaults = [word.value for word in getattr(call, "keywords", []) if word.arg == "default"]
    return defaults[0].value if defaults and isinstance(defaults[0], ast.Constant) else None


def _package_folder(name: str) -> Path:
    """The folder of an installed package. Raises ModuleNotFoundError where it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return Path(spec.submodule_search_locations[0])


def _config_class(method: str) -> tuple[Path, str]:
    """(file, class) of TRL's config for a method."""
    trl = _package_folder("trl")
    own = trl / "experimental/orpo/orpo_config.py" if method == "orpo" else trl / f"trainer/{method}_config.py"
    return own, f"{method.upper()}Config"


def _declared_fields(path: Path, name: str) -> dict[str, ast.AnnAssign]:
    """{field: its annotated assignment} of a class in a source file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    declared = [node for node in body if isinstance(node, ast.AnnAssign)]
    fields = {node.target.id: node for node in declared if isinstance(node.target, ast.Name)}
    return {name: node for name, node in fields.items() if name[0] != "_"}


def fits_annotation(value: object, annotation: str) -> bool:
    """False where an annotation such as `float | None` certainly excludes the value's type."""
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
