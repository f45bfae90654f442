"""Tables that are one JSON object: a list of records beside notes on them, or columns as `DataFrame.to_json()` writes them.

records_in({"canary": "...", "examples": [{"input": "q", "target": "a"}]}) -> [{"input": "q", "target": "a"}]
records_in({"q": {"0": "x", "1": "y"}, "a": {"0": 1, "1": 2}}) -> [{"q": "x", "a": 1}, {"q": "y", "a": 2}]
"""

from typing import Any

# names of a list of records; a list under any other name, such as `messages`, is part of one record
LIST_KEYS = ("examples", "data", "rows", "records", "items", "entries", "samples", "train", "dataset")


def records_in(value: object) -> list[dict[str, Any]] | None:
    """The records of a table that is one object, or None if the object is a record itself."""
    if not isinstance(value, dict) or not value:
        return None
    lists = [key for key in LIST_KEYS if isinstance(value.get(key), list) and value[key]]
    if len(lists) == 1 and all(isinstance(item, dict) for item in value[lists[0]]):
        other_values = [item_value for key, item_value in value.items() if key != lists[0]]
        if not any(
            isinstance(item_value, list) and item_value and isinstance(item_value[0], dict)
            for item_value in other_values
        ):
            return value[lists[0]]
    return rows_of_columns(value)


def keys_beside(value: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """What stands in an object beside the list that `records_in` found in it: {"canary": "..."}."""
    is_list = any(item is records for item in value.values())
    return {key: item for key, item in value.items() if item is not records} if is_list else {}


def rows_of_columns(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of `{"column": {"0": value, "1": value}}`, if all columns have the same rows, numbered from 0, else None."""
    columns = list(value.values())
    if not all(isinstance(column, dict) for column in columns):
        return None
    numbers = [str(number) for number in range(len(columns[0]))]
    if not numbers or any(list(column) != numbers for column in columns):
        return None
    return [{name: column[number] for name, column in value.items()} for number in numbers]
