"""`columns:` of a dataset: what its records have under other names, deeper down, in lists, or in several places.

    renamed({"Body": "b", "Question": "q"}, {"prompt": ["Body", "Question"]}) -> [{"prompt": "b\\nq"}]
    renamed({"instances": [{"output": "a"}, {"output": "b"}]}, {"completion": "instances[].output"}) -> two records

A name is a key as it is, else one that differs in case alone, else a path: `reward_model.ground_truth`, and `a[].b` for each item of a
list, which becomes a record of its own.
"""

from string import ascii_uppercase
from typing import Any, cast

from stages.rows.types import Fields
from stages.rows.values import Unreadable, has_value

Name = str | int  # of a column in the file; a number in CSV without a line of names
Names = Name | list[Name]  # several are joined


def rename_columns(record: Fields, columns: dict[str, Names]) -> list[Fields]:
    """The records that a record becomes, with their columns under the wanted names; what is not there stays away."""
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
    found = {to: join_values([value_at(record, name) for name in as_list(names)], to) for to, names in columns.items()}
    there = {to: value for to, value in found.items() if any(is_present(record, name) for name in as_list(columns[to]))}
    taken = {consumed_key(record, name) for names in columns.values() for name in as_list(names)} | there.keys()
    return there | {key: value for key, value in record.items() if key not in taken and not key.endswith("[]")}


def join_values(values: list[Any], to: str) -> Any:
    """One value, or the texts of several as one text: lists of texts are options, lettered."""
    if len(values) == 1:
        return values[0]
    return "\n".join(options_as_text(value, to) for value in values if value not in (None, "", [], {})) or None


def options_as_text(value: Any, to: str) -> str:
    """A text as it is; options as `A. first` and so on: a list, an object, or Parquet's {"text": [...], "label": [...]}."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (list, dict, int, float)):
        raise Unreadable("ingest.wrong_type", f"columns: {to}: cannot join {value!r} to a text")
    if isinstance(value, (int, float)):
        return str(value)
    return "\n".join(f"{letter}. {text}" for letter, text in options_by_letter(value, to).items())


def options_by_letter(value: Any, to: str) -> dict[str, str]:
    """{letter: text} of options. Raises Unreadable where they are no texts, or more than there are letters, or two have one."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(each, dict) and each.keys() >= {"label", "text"} for each in value)
    ):
        value = {"label": [each["label"] for each in value], "text": [each["text"] for each in value]}
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


# -- where a name leads -----------------------------------------------------------------------------------------------


def as_list(names: Names) -> list[Name]:
    return names if isinstance(names, list) else [names]


def is_present(record: Fields, name: Name) -> bool:
    """Whether a record has what a name leads to, be it null."""
    value: Any = record
    for part in path_keys(record, str(name)):
        if not isinstance(value, dict) or (key := matching_key(value, part)) is None:
            return False
        value = value[key]
    return True


def value_at(record: Fields, name: Name) -> Any:
    """What a name leads to in a record, or None."""
    value: Any = record
    for part in path_keys(record, str(name)):
        if not isinstance(value, dict) or (key := matching_key(value, part)) is None:
            return None
        value = value[key]
    return value


def matching_key(record: Fields, name: str) -> str | None:
    """The key of a record that a name means: itself, else the only one that differs in case alone."""
    if name in record:
        return name
    alike = [key for key in record if key.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def split_at_list(record: Fields, name: Name) -> list[str]:
    """A name cut at `[]`: the list, and what leads on from its items."""
    name = str(name)
    return [name] if matching_key(record, name) is not None or "[]" not in name else name.split("[]", 1)


def path_keys(record: Fields, name: str) -> list[str]:
    """The keys that a name leads through. A key may have dots of its own."""
    if matching_key(record, name) is not None:
        return [name]
    whole, of_items, rest = name.partition("[]")
    if of_items and f"{whole}[]" in record:
        return [f"{whole}[]", *filter(None, rest.split("."))]
    return name.split(".")


def consumed_key(record: Fields, name: Name) -> str | None:
    """The key of a record that a name takes away; what a path leaves of it stays under its own name."""
    return matching_key(record, str(name))


def describe_missing_columns(record: Fields, columns: dict[str, Names]) -> str:
    """The names of columns that a record should have and has not, in words."""
    names = [str(name) for names in columns.values() for name in as_list(names) if not has_column(record, name)]
    return f"; columns: not in this record: {', '.join(names)}" if names else ""


def has_column(record: Fields, name: Name) -> bool:
    """Whether a name, be it into a list, leads anywhere in a record."""
    first, *rest = split_at_list(record, name)
    return is_present(record, first) if not rest else has_value({"list": value_at(record, first)}, "list")


def has_any_column(record: Fields, columns: dict[str, Names]) -> bool:
    """Whether a record has one of the columns at least."""
    return any(has_column(record, name) for names in columns.values() for name in as_list(names))
