"""Two versions of the parameters compared, and their differences in words.

changed_params({"seed": 7}, {"seed": 8}) -> [{"key": "seed", "old": 7, "new": 8}], which describe_change() shows as `seed: 7 -> 8`
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class Change(TypedDict):
    """A parameter that differs. Without `old` it is new, without `new` it was removed; null is a value."""

    key: str
    old: NotRequired[Any]
    new: NotRequired[Any]


def changed_params(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Change]:
    """The Change of every parameter that differs, by dotted key."""
    found: list[Change] = []
    for key in dict.fromkeys([*old, *new]):
        name = f"{prefix}{key}"
        if key not in old:
            found.append({"key": name, "new": new[key]})
        elif key not in new:
            found.append({"key": name, "old": old[key]})
        elif isinstance(old[key], dict) and isinstance(new[key], dict):
            found += changed_params(old[key], new[key], f"{name}.")
        elif (old[key], type(old[key])) != (new[key], type(new[key])):
            found.append({"key": name, "old": old[key], "new": new[key]})
    return found


def describe_change(change: Change, width: int = 100) -> str:
    """A changed parameter in one line, safe for a terminal."""
    from stages.rows.tables import safe_text

    key = safe_text(change["key"])
    if "old" not in change:
        return f"{key}: added: {format_value(change['new'], width)}"
    if "new" not in change:
        return f"{key}: removed, was {format_value(change['old'], width)}"
    return f"{key}: {format_value(change['old'], width)} -> {format_value(change['new'], width)}"


def format_value(item: object, width: int = 100) -> str:
    """A parameter's value in one line, as in YAML."""
    from stages.rows.tables import safe_text

    plain = isinstance(item, str) and item[:1].isalpha() and item not in ("true", "false", "null")
    return safe_text(item if plain else json.dumps(item, ensure_ascii=False, default=str), width)


def align_columns(rows: Sequence[Sequence[str]], right: Collection[int] = (), indent: int = 2) -> Iterator[str]:
    """Yields one line per row, with aligned columns. right: the numbers of right-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (" " * indent + "  ".join(cells)).rstrip()
