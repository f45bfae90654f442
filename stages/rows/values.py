"""Values of a record by key, and the error for what cannot be read.

What cannot be read raises Unreadable, and the record becomes a reject with its check and detail.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from stages.rows.types import Fields

TYPE_NAMES = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def encode_timestamp(value: Any) -> str:
    """A value that msgspec does not know, as JSON: a pandas timestamp, which Arrow makes of nanoseconds if pandas is installed."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


ENCODE = msgspec.json.Encoder(enc_hook=encode_timestamp).encode


class Unreadable(Exception):
    """This record cannot become a row: (check, detail)."""

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(detail)
        self.check, self.detail = check, detail


def type_of(value: object) -> str:
    """The type of a value in words."""
    return TYPE_NAMES.get(type(value), type(value).__name__)


def has_value(record: Fields, key: str | None) -> bool:
    """True if a record has a value under a key. Null counts as absent."""
    return record.get(key) is not None


def first_key(record: Fields, keys: Sequence[str]) -> str:
    """The first of `keys` that has a value, else the first that the record has. Raises Unreadable if it has none."""
    for key in keys:
        if has_value(record, key):
            return key
    for key in keys:
        if key in record:
            return key
    raise Unreadable("ingest.missing_key", f"expected one of {', '.join(keys)}")


def first_value(record: Fields, keys: Sequence[str]) -> Any:
    """The value under the first of `keys` that the record has."""
    return record[first_key(record, keys)]


def parse_json_text(text: str | bytes, where: str | None = None) -> Any:
    """The value of a JSON text. Text that does not parse is None, or raises Unreadable if `where` is given."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if where is None:
            return None
        raise Unreadable("ingest.wrong_type", f"{where}: expected a list or its JSON text") from None
