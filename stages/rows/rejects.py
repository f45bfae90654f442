"""The number of rejected records by check, from a file of rejects of any size.

reject_counts("data/rejected/chat.parquet") -> Counter({("curate", "curate.duplicate"): 70, ("ingest", "ingest.json"): 4})
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from stages.rows.key_hints import BESIDE
from stages.rows.tables import safe_text


def reject_counts(path: str | Path) -> Counter[tuple[str, str]]:
    """Counter by (stage, check). Raises OSError or an Arrow error if the file is missing or is not Parquet."""
    result = Counter()
    with pq.ParquetFile(path) as file:  # pq.read_table and Table.group_by import pandas, which takes half a second
        for batch in file.iter_batches(columns=["stage", "check"]):
            result.update(zip(batch["stage"].to_pylist(), batch["check"].to_pylist(), strict=True))
    return result


def personal_data_counts(path: str | Path) -> dict[str, dict[str, int]]:
    """{"reject": {kind: rows}, "warn": {kind: rows}} of the personal data that curate found; empty if it did not search."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(b"personal_data", b"{}"))


MAX_KEYS = 20  # of one file that are named
UNUSED_KEYS = "keys not used"  # in the metadata of a file of rejects; its value is {raw file: {key: records}}


def unused_key_counts(path: str | Path) -> dict[str, dict[str, int]]:
    """{raw file: {key: records}} of the keys that no row uses, as ingest counted them."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(UNUSED_KEYS.encode(), b"{}"))


def describe_unused_keys(keys_by_source: dict[str, dict[str, int]]) -> Iterator[str]:
    """A line for each raw file with keys that no row uses. keys_by_source: what `unused_key_counts` gives."""
    for source, keys in keys_by_source.items():
        yield f"keys not used of {safe_text(source, 200)}: {describe_key_counts(keys)}"


def describe_key_counts(keys: Mapping[str, int]) -> str:
    """`context (15,011), difficulty (203)`, the most frequent first, from {key: records}."""
    by_count = sorted(keys.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(by_count) - MAX_KEYS:,} more" if len(by_count) > MAX_KEYS else ""
    return ", ".join(f"{safe_text(key, 60)} ({count:,})" for key, count in by_count[:MAX_KEYS]) + more


def describe_canary(keys: Mapping[str, int]) -> str:
    """A warning where a key is named `canary`; else "". keys: {key: records}."""
    if not any(key.removesuffix(BESIDE).lower() in ("canary", "canary_guid", "canary guid") for key in keys):
        return ""
    return "these are records of a benchmark, whose canary asks that nobody trains on them: a model that did cannot be scored by it"


def describe_records(count: int) -> str:
    """`1 record has`, `5 records have`."""
    return "1 record has" if count == 1 else f"{count:,} records have"


def counts_by_check(rejects: Counter[tuple[str, str]], stage: str | None = None) -> dict[str, int]:
    """{check: count} of one stage, or of all, the most frequent first."""
    checks = Counter()
    for (rejecting_stage, check), count in rejects.items():
        checks[check] += count if stage in (None, rejecting_stage) else 0
    return dict(sorted((+checks).items(), key=lambda item: (-item[1], item[0])))
