"""The values of a record by which scores are sliced, as `slice_by` of its dataset names their keys.

    values_of({"lang": "de", "meta": {"topic": None}}, ("lang", "meta.topic")) -> {"lang": "de", "meta.topic": None}

Rows have them as JSON in the column `slices`: those that ingest makes, and those of data/eval. Those of data/train have not, so that
another `slice_by` trains nothing. A value that is no text is its JSON; a key that is not there, or holds nothing, is None.
"""

from collections.abc import Iterator

import pyarrow as pa

from stages.rows.columns import value_at
from stages.rows.key_meanings import EMPTY_VALUES
from stages.rows.types import Fields
from stages.rows.values import ENCODE
from validators.problems import Problem, did_you_mean

COLUMN = "slices"


def slice_values(record: Fields, keys: tuple[str, ...]) -> dict[str, str | None]:
    return {key: as_text(value_at(record, key)) for key in keys}


def as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    return None if value in EMPTY_VALUES or value != value else ENCODE(value).decode()  # NaN is no value either


def slices_as_json(values: dict[str, str | None]) -> str:
    return ENCODE(values).decode()


def with_slices(schema: pa.Schema, keys: tuple[str, ...]) -> pa.Schema:
    """A schema of rows with their slices, where there are any keys."""
    return schema.append(pa.field(COLUMN, pa.string())) if keys else schema


def describe_slices(keys: tuple[str, ...], have: dict[str, int]) -> Iterator[str]:
    """A line for each key: how many records have it, and how many have none. have: `sliced` of a KeyAccount."""
    records = have[""]
    for key in keys:
        lacking = f", {records - have[key]:,} have none" if have[key] < records else ""
        yield f"slice_by {key}: {have[key]:,} of {records:,} records have it{lacking}"


def unknown_slice_keys(name: str, keys: tuple[str, ...], have: dict[str, int], known: set[str]) -> list[Problem]:
    """Problems of keys that no record has. known: the keys that records have beside what rows are made of."""
    where, expected = f"datasets.{name}.slice_by", "a key of the records, such as lang, or a path, such as meta.lang"
    return [
        Problem(where, f"no record has {key!r}", expected, did_you_mean(key, sorted(known)) if known else "")
        for key in keys
        if have[""] and not have[key]
    ]
