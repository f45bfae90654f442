"""The values of a record that scores are sliced by. `slice_by` of its dataset names their keys.

    slice_values({"lang": "de", "meta": {"topic": None}}, ("lang", "meta.topic")) -> {"lang": "de", "meta.topic": None}

Rows that ingest makes and rows of data/eval have them as JSON in the column `slices`. Rows of data/train do not, so that another
`slice_by` trains nothing. A value that is not a text becomes its JSON. A missing or empty key is None.
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
    return None if value in EMPTY_VALUES or value != value else ENCODE(value).decode()  # NaN is empty too


def slices_as_json(values: dict[str, str | None]) -> str:
    return ENCODE(values).decode()


def with_slices(schema: pa.Schema, keys: tuple[str, ...]) -> pa.Schema:
    """A schema of rows with their slices, if there are any keys."""
    return schema.append(pa.field(COLUMN, pa.string())) if keys else schema


def describe_slices(keys: tuple[str, ...], counts: dict[str, int]) -> Iterator[str]:
    """A line for each key: how many records have it, and how many have none. counts: `sliced` of a KeyAccount."""
    records = counts[""]
    for key in keys:
        missing = f", {records - counts[key]:,} have none" if counts[key] < records else ""
        yield f"slice_by {key}: {counts[key]:,} of {records:,} records have it{missing}"


def unknown_slice_keys(name: str, keys: tuple[str, ...], counts: dict[str, int], known: set[str]) -> list[Problem]:
    """A Problem for each key that no record has. known: the keys of records that no row uses."""
    where, expected = f"datasets.{name}.slice_by", "a key of the records, such as lang, or a path, such as meta.lang"
    return [
        Problem(where, f"no record has {key!r}", expected, did_you_mean(key, sorted(known)) if known else "")
        for key in keys
        if counts[""] and not counts[key]
    ]
