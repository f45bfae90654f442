"""docs/params.md: each key of params.yaml with type, default, meaning and example, from the models and validators/param_docs.py."""

import json
from collections.abc import Iterator
from typing import Any

from validators.param_docs import KeyDoc, all_key_docs
from validators.params import Params

Schema = dict[str, Any]  # a JSON schema, as pydantic makes it

PAGE = """# params.yaml

Every key. `python -m docs.generate` writes this page from the models of `validators/params.py` and from `validators/param_docs.py`.
`NAME` stands for a name of yours: lower-case letters, digits and `_`, a letter first. An unknown key is an error, and
`tilth check` suggests the nearest known one.

{required} are required. `check` fills in the defaults, once: `.build/params/` has what each stage reads.

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
        "For a dataset of kind `grpo`: prompts that a model answers rightly in a share of its samples between two bounds. "
        "[methods.md](methods.md#prompts-that-are-neither-too-hard-nor-too-easy) says more.",
    ),
    "curate.": ("`curate`: what is rejected", "In every dataset, beyond exact duplicates and contradictions."),
    "preflight.": (
        "`preflight`: limits before training",
        "A key is the limit of the check with its name. Above the limit the check warns, or stops the build. "
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
    docs, schema, parts = all_key_docs(), Params.model_json_schema(by_alias=True), []
    keys = dict(keys_of(schema))
    for prefix, (title, above) in SECTIONS.items():
        rows = [
            key_row(key, schema, required, docs[key])
            for key, (schema, required) in keys.items()
            if section_of(key) == prefix
        ]
        head = ["| key | type and default | what it means | example |", "|---|---|---|---|"]
        parts.append("\n\n".join(filter(None, [f"## {title}", above, "\n".join(head + rows)])))
    *first, last = (f"`{name}`" for name in schema["required"])
    return PAGE.format(required=f"{', '.join(first)} and {last}", sections="\n\n".join(parts))


def section_of(key: str) -> str:
    """The longest prefix in SECTIONS of a key."""
    return max((prefix for prefix in SECTIONS if key.startswith(prefix)), key=len)


def keys_of(
    schema: Schema, prefix: str = "", models: Schema | None = None
) -> Iterator[tuple[str, tuple[Schema, bool]]]:
    """(key, (its schema, True where it is required)) of a model's JSON schema and of the models inside it, in their order.

    A section of the top level is not a key itself, but its keys are. `methods` has the keys of `steps`.
    """
    models = models or schema["$defs"]
    for name, each in schema["properties"].items():
        key = f"{prefix}{name}"
        inside, where = nested_model(each, models)
        if key == "methods" or inside is None or prefix:
            yield key, (each, name in schema.get("required", ()))
        if inside is not None and key != "methods":
            yield from keys_of(inside, f"{key}{where}", models)


def nested_model(schema: Schema, models: Schema) -> tuple[Schema | None, str]:
    """(the model inside a key, what separates their names); (None, "") where there is none.

    A key may hold a model itself ("."), models by a user's name (".NAME."), or a list of models ("[].").
    """
    for each, where in (
        *((option, ".") for option in (schema, *schema.get("anyOf", ()))),
        (schema.get("additionalProperties"), ".NAME."),
        (schema.get("items"), "[]."),
    ):
        if isinstance(each, dict) and "$ref" in each:
            return models[each["$ref"].rpartition("/")[2]], where
    return None, ""


def key_row(key: str, schema: Schema, required: bool, entry: KeyDoc) -> str:
    """The line of a key in its section's table."""
    name = key.rpartition(".")[2]
    shown = key.removeprefix(section_of(key)) or key
    default = "required" if required else f"default: {default_code(schema.get('default'))}"
    type_and_default = f"{entry.type or type_of(schema)}<br>{default}"
    return (
        f"| `{shown}` | {type_and_default} | {table_cell(entry.meaning)} | {backticked(f'{name}: {entry.example}')} |"
    )


def type_of(schema: Schema) -> str:
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
    return TYPE_NAMES.get(schema.get("type", ""), "anything") + bounds(schema)


def bounds(schema: Schema) -> str:
    """The bounds of a number or a text, in words."""
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    texts = [f"{word} {schema[name]:g}" for name, word in words.items() if name in schema]
    texts += [f"as `{schema['pattern']}`"] if "pattern" in schema else []
    return f", {', '.join(texts)}" if texts else ""


def default_code(value: Any) -> str:
    return backticked("null" if value is None else json.dumps(value).replace('"', ""))


def backticked(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{table_cell(text)}`"


def table_cell(text: str) -> str:
    return text.replace("|", "\\|")
