"""The value of a JSON text, also with NaN and Infinity, which Python and pandas write although JSON has no such numbers.

decode_json(b'{"a": NaN, "b": "text"}') -> {"a": nan, "b": "text"}
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
            msgspec.json.encode(value)  # the json module accepts lone surrogates, which no table can hold
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
            inner_place
            for key, inner in value.items()
            for inner_place in non_finite_places(inner, f"{place}.{key}".lstrip("."))
        ]
    if isinstance(value, list):
        return [
            inner_place
            for index, inner in enumerate(value)
            for inner_place in non_finite_places(inner, f"{place}[{index}]")
        ]
    return []


def replace_non_finite(value: Any, number: float) -> Any:
    """A value with `number` instead of each NaN and Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return number
    if isinstance(value, dict):
        return {key: replace_non_finite(inner, number) for key, inner in value.items()}
    return [replace_non_finite(inner, number) for inner in value] if isinstance(value, list) else value


def without_struct_nulls(value: Any) -> Any:
    """A value of an Arrow table without null fields of structs: every struct has the fields of all others, absent ones as null."""
    if isinstance(value, dict):
        return {key: without_struct_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_struct_nulls(inner) for inner in value] if isinstance(value, list) else value
