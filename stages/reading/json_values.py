"""What a JSON text says; NaN and Infinity too, which Python and pandas write though JSON has no such numbers.

decoded(b'{"a": NaN, "b": "text"}') -> {"a": nan, "b": "text"}
"""

import json
import math
from typing import Any

import msgspec

NON_FINITE_NAMES = (b"NaN", b"Infinity")


def decode_json(raw: bytes) -> Any:
    """The value of a JSON text (bytes). Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        if not any(mark in raw for mark in NON_FINITE_NAMES):
            raise
        try:
            value = json.loads(raw.decode())
            msgspec.json.encode(value)  # the json module takes lone surrogates, which no table can hold
        except (ValueError, OverflowError):
            pass
        else:
            return value
        raise


def non_finite_places(value: object, place: str = "") -> list[str]:
    """The places of NaN and Infinity in a value, in words: `messages[1].content is NaN`."""
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{place} is {'NaN' if math.isnan(value) else 'Infinity'}"]
    if isinstance(value, dict):
        return [
            found for key, inner in value.items() for found in non_finite_places(inner, f"{place}.{key}".lstrip("."))
        ]
    if isinstance(value, list):
        return [found for at, inner in enumerate(value) for found in non_finite_places(inner, f"{place}[{at}]")]
    return []


def replace_non_finite(value: Any, number: float) -> Any:
    """A value with a number in the place of each NaN and Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return number
    if isinstance(value, dict):
        return {key: replace_non_finite(inner, number) for key, inner in value.items()}
    return [replace_non_finite(inner, number) for inner in value] if isinstance(value, list) else value


def without_struct_nulls(value: Any) -> Any:
    """A value of an Arrow table without the nulls of its structs: each has the fields of all others, those it has not as null."""
    if isinstance(value, dict):
        return {key: without_struct_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_struct_nulls(inner) for inner in value] if isinstance(value, list) else value
