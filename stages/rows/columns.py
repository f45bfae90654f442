"""`columns:` of a dataset: values that its records have under other names, nested, in lists, or in several places.

    rename_columns({"Body": "b", "Question": "q"}, {"prompt": ["Body", "Question"]}) -> [{"prompt": "b\\nq"}]
    rename_columns({"instances": [{"output": "a"}, {"output": "b"}]}, {"completion": "instances[].output"}) -> two records

A name is a key, else a key that differs only in case, else a path such as `reward_model.ground_truth`. With `a[].b`, each item of
the list `a` becomes a record of its own.
"""

import re
from string import ascii_uppercase
from typing import Any, cast

from stages.rows.types import Fields
from stages.rows.values import Unreadable, has_value

Name = str | int  # of a column in the file; a number in a CSV without a header
Names = Name | list[Name]  # several are joined
LETTERED_OPTION = re.compile(r"\s*\(?([A-Za-z])[).:]\s*\S")


def rename_columns(record: Fields, columns: dict[str, Names]) -> list[Fields]:
    """The records that a record becomes, with their columns under the wanted names. Missing columns are left out."""
    if not columns:
        return [record]
    lists = {
        parts[0]
        for names in columns.values()
        for name in as_list(names)
        if len(parts := split_at_list(record, name)) > 1
    }
    if not lists:
        return [with_column_names(record, columns)]
    if len(lists) > 1:
        detail = f"columns: items of {' and of '.join(f'{name}[]' for name in sorted(lists))} cannot be paired"
        raise Unreadable("ingest.wrong_type", detail)
    (name,) = lists
    items = value_at(record, name)
    if items is None:
        return [with_column_names(record, columns)]
    if not isinstance(items, list):
        raise Unreadable("ingest.wrong_type", f"{name}: expected a list, as columns say {name}[]")
    return [with_column_names(record | {f"{name}[]": item}, columns) for item in items]


def with_column_names(record: Fields, columns: dict[str, Names]) -> Fields:
    """A record with its columns under the wanted names."""
    values = {to: join_values([value_at(record, name) for name in as_list(names)], to) for to, names in columns.items()}
    present = {
        to: value for to, value in values.items() if any(is_present(record, name) for name in as_list(columns[to]))
    }
    consumed = {consumed_key(record, name) for names in columns.values() for name in as_list(names)} | present.keys()
    return present | {key: value for key, value in record.items() if key not in consumed and not key.endswith("[]")}


def join_values(values: list[Any], to: str) -> Any:
    """One value as it is; several joined to one text, in which a list of texts becomes options with letters."""
    if len(values) == 1:
        return values[0]
    return "\n".join(options_as_text(value, to) for value in values if value not in (None, "", [], {})) or None


def options_as_text(value: Any, to: str) -> str:
    """A text as it is; options as lines `A. first`, from a list, an object, or Parquet's {"text": [...], "label": [...]}."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (list, dict, int, float)):
        raise Unreadable("ingest.wrong_type", f"columns: {to}: cannot join {value!r} to a text")
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list) and leading_letters(value):
        return "\n".join(value)
    return "\n".join(f"{letter}. {text}" for letter, text in options_by_letter(value, to).items())


def leading_letters(options: list[Any]) -> list[str] | None:
    """The letters that the options begin with, or None if they are not A, B, C ..."""
    matches = [LETTERED_OPTION.match(option) for option in options if isinstance(option, str)]
    letters = [match[1].upper() for match in matches if match]
    return letters if letters and letters == list(ascii_uppercase[: len(options)]) else None


def options_by_letter(value: Any, to: str) -> dict[str, str]:
    """{letter: text} of options. Raises Unreadable if one is not a text, if there are more than letters, or if two share a letter."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(item, dict) and item.keys() >= {"label", "text"} for item in value)
    ):
        value = {"label": [item["label"] for item in value], "text": [item["text"] for item in value]}
    if isinstance(value, dict):
        texts = value.get("text")
        letters = value.get("label", value.get("labels"))
        if isinstance(texts, list) and isinstance(letters, list) and len(texts) == len(letters):
            if len(set(map(str, letters))) < len(letters):
                raise Unreadable(
                    "ingest.wrong_type", f"columns: {to}: two options have one label: {', '.join(map(str, letters))}"
                )
            value = dict(zip(map(str, letters), texts, strict=True))
    elif isinstance(value, list) and len(value) <= len(ascii_uppercase):
        value = dict(zip(ascii_uppercase, value, strict=False))
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Unreadable("ingest.wrong_type", f"columns: {to}: options are a list or an object of texts")
    return cast(dict[str, str], value)


# -- lookup of names --------------------------------------------------------------------------------------------------


def as_list(names: Names) -> list[Name]:
    return names if isinstance(names, list) else [names]


def is_present(record: Fields, name: Name) -> bool:
    """Whether a record has the key or path of a name, even with the value null."""
    value: Any = record
    for part in path_keys(record, str(name)):
        if not isinstance(value, dict) or (key := matching_key(value, part)) is None:
            return False
        value = value[key]
    return True


def value_at(record: Fields, name: Name) -> Any:
    """The value at a name, a key or a path, or None."""
    value: Any = record
    for part in path_keys(record, str(name)):
        if not isinstance(value, dict) or (key := matching_key(value, part)) is None:
            return None
        value = value[key]
    return value


def matching_key(record: Fields, name: str) -> str | None:
    """The key of a record for a name: the name itself, else the only key that differs just in case."""
    if name in record:
        return name
    alike = [key for key in record if key.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def split_at_list(record: Fields, name: Name) -> list[str]:
    """A name split at `[]`: [list, path within its items]. A name without a list is one part."""
    name = str(name)
    return [name] if matching_key(record, name) is not None or "[]" not in name else name.split("[]", 1)


def path_keys(record: Fields, name: str) -> list[str]:
    """The keys along the path of a name. A key may itself contain dots."""
    if matching_key(record, name) is not None:
        return [name]
    list_name, of_items, rest = name.partition("[]")
    if of_items and f"{list_name}[]" in record:
        return [f"{list_name}[]", *filter(None, rest.split("."))]
    return name.split(".")


def consumed_key(record: Fields, name: Name) -> str | None:
    """The key that a renamed column removes from a record. A path removes none: the rest of its object stays under its own name."""
    return matching_key(record, str(name))


def describe_missing_columns(record: Fields, columns: dict[str, Names]) -> str:
    """The columns that a record lacks, as the end of a message."""
    names = [str(name) for names in columns.values() for name in as_list(names) if not has_column(record, name)]
    return f"; columns: not in this record: {', '.join(names)}" if names else ""


def has_column(record: Fields, name: Name) -> bool:
    """Whether a record has a column, which may be a path into a list."""
    first, *rest = split_at_list(record, name)
    return is_present(record, first) if not rest else has_value({"list": value_at(record, first)}, "list")


def has_any_column(record: Fields, columns: dict[str, Names]) -> bool:
    """Whether a record has at least one of the columns."""
    return any(has_column(record, name) for names in columns.values() for name in as_list(names))
