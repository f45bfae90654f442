"""docs/params.md: each key of params.yaml with type, default, meaning and example, of the models and of validators/param_docs.py."""

import json
from collections.abc import Iterator
from typing import Any

from validators.param_docs import KeyDoc, all_key_docs
from validators.params import Params

PAGE = """# params.yaml

Every key, made of the models of `validators/params.py` and of `validators/param_docs.py` by `python -m docs.generate`.
`NAME` stands for a name of yours: lower-case letters, digits and `_`, a letter first. A key that is not here is a mistake, and
`tilth check` says which one you may have meant.

{required} must be there. Defaults are filled in once, by `check`: `.build/params/` has what each stage reads.

A value outside the usual range is a warning. A step waives it by name with a reason, and the report shows it:
`waive: {{learning_rate: the tiny model starts from random weights}}`.

{sections}
"""
SECTIONS = {  # prefix of the keys -> (title, what stands above the table)
    "": ("The top level", ""),
    "base.": ("`base`: the model that all steps start from", ""),
    "datasets.NAME.": ("`datasets`: what is made of raw data", "The shapes that are read: [formats.md](formats.md)."),
    "methods": ("`methods`: steps to take", ""),
    "steps.NAME.": ("`steps`: what is trained", "[training.md](training.md) and [methods.md](methods.md) say more."),
    "difficulty.NAME.": (
        "`difficulty`: on which prompts GRPO trains",
        "By dataset of kind `grpo`: those that a model answers rightly in a share of its samples. "
        "[methods.md](methods.md#prompts-that-are-neither-too-hard-nor-too-easy) says more.",
    ),
    "curate.": ("`curate`: what is turned away", "Of every dataset, beyond exact duplicates and contradictions."),
    "preflight.": (
        "`preflight`: limits before training",
        "A key is the limit of the check with its name: above it the check warns, or stops the build. "
        "[preflight.md](preflight.md) says which, and what is measured.",
    ),
    "evaluate.": ("`evaluate`: how models are scored", "[evaluation.md](evaluation.md) says more."),
    "gates[].": (
        "`gates`: what a model must do to ship",
        "A list; each entry has one bound. [gates.md](gates.md) says more.",
    ),
}
TYPE_NAMES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


def params_page() -> str:
    """The text of docs/params.md."""
    told, schema, parts = all_key_docs(), Params.model_json_schema(by_alias=True), []
    keys = dict(keys_of(schema))
    for prefix, (title, above) in SECTIONS.items():
        rows = [
            key_row(key, schema, required, told[key])
            for key, (schema, required) in keys.items()
            if section_of(key) == prefix
        ]
        head = ["| key | type and default | what it means | example |", "|---|---|---|---|"]
        parts.append("\n\n".join(filter(None, [f"## {title}", above, "\n".join(head + rows)])))
    *first, last = (f"`{name}`" for name in schema["required"])
    return PAGE.format(required=f"{', '.join(first)} and {last}", sections="\n\n".join(parts))


def section_of(key: str) -> str:
    """The prefix of SECTIONS under which a key stands."""
    return max((prefix for prefix in SECTIONS if key.startswith(prefix)), key=len)


def keys_of(schema: dict, prefix: str = "", models: dict | None = None) -> Iterator[tuple[str, tuple[dict, bool]]]:
    """(key, (its schema, whether it is required)) of a model's JSON schema and of the models inside it, in their order.

    A section of the top level is no key of its own: its keys are. `methods` has those of `steps`.
    """
    models = models or schema["$defs"]
    for name, each in schema["properties"].items():
        key = f"{prefix}{name}"
        inside, where = nested_model(each, models)
        if key == "methods" or inside is None or prefix:
            yield key, (each, name in schema.get("required", ()))
        if inside is not None and key != "methods":
            yield from keys_of(inside, f"{key}{where}", models)


def nested_model(schema: dict, models: dict) -> tuple[dict | None, str]:
    """(the model that a key holds, what stands between their names): of its own, by a name of the user's, in a list. Else (None, "")."""
    for each, where in (
        *((option, ".") for option in (schema, *schema.get("anyOf", ()))),
        (schema.get("additionalProperties"), ".NAME."),
        (schema.get("items"), "[]."),
    ):
        if isinstance(each, dict) and "$ref" in each:
            return models[each["$ref"].rpartition("/")[2]], where
    return None, ""


def key_row(key: str, schema: dict, required: bool, entry: KeyDoc) -> str:
    """The line of a key in its section's table."""
    name = key.rpartition(".")[2]
    shown = key.removeprefix(section_of(key)) or key
    default = "required" if required else f"default: {default_code(schema.get('default'))}"
    told = f"{entry.type or type_of(schema)}<br>{default}"
    return f"| `{shown}` | {told} | {table_cell(entry.meaning)} | {backticked(f'{name}: {entry.example}')} |"


def type_of(schema: dict) -> str:
    """The type of a key in words, with its bounds."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "the keys below"
    if schema.get("type") == "array":
        return f"list of {type_of(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"by name: {type_of(values)}" if isinstance(values, dict) and values else "by name: anything"
    return TYPE_NAMES.get(schema.get("type"), "anything") + bounds(schema)


def bounds(schema: dict) -> str:
    """The bounds of a number or a text, in words."""
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    told = [f"{word} {schema[name]:g}" for name, word in words.items() if name in schema]
    told += [f"as `{schema['pattern']}`"] if "pattern" in schema else []
    return f", {', '.join(told)}" if told else ""


def default_code(value: Any) -> str:
    return backticked("null" if value is None else json.dumps(value).replace('"', ""))


def backticked(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{table_cell(text)}`"


def table_cell(text: str) -> str:
    return text.replace("|", "\\|")
