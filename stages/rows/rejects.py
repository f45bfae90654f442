"""How many records were rejected by which check, from a file of rejects, however many there are.

counts("data/rejected/chat.parquet") -> Counter({("curate", "curate.duplicate"): 70, ("ingest", "ingest.json"): 4})
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from stages.rows.tables import safe_text


def reject_counts(path: str | Path) -> Counter[tuple[str, str]]:
    """Counter by (stage, check). Raises OSError or an error of Arrow's where the file is not there or no Parquet."""
    found = Counter()
    with pq.ParquetFile(path) as file:  # pq.read_table and Table.group_by import pandas, which takes half a second
        for batch in file.iter_batches(columns=["stage", "check"]):
            found.update(zip(batch["stage"].to_pylist(), batch["check"].to_pylist(), strict=True))
    return found


def personal_data_counts(path: str | Path) -> dict[str, dict[str, int]]:
    """{"reject": {kind: rows}, "warn": {kind: rows}} of the personal data that curate found; empty where it did not look."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(b"personal_data", b"{}"))


MAX_KEYS = 20  # of one file that are told by name
UNUSED_KEYS = "keys not used"  # of the metadata of a file of rejects: {raw file: {key: records}}


def unused_key_counts(path: str | Path) -> dict[str, dict[str, int]]:
    """{raw file: {key: records}} of the keys that no row is made of, as ingest counted them."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(UNUSED_KEYS.encode(), b"{}"))


def describe_unused_keys(found: dict[str, dict[str, int]]) -> Iterator[str]:
    """A sentence for each raw file with keys that no row is made of. found: what `unused_key_counts` gives."""
    for source, keys in found.items():
        yield f"keys not used of {safe_text(source, 200)}: {describe_key_counts(keys)}"


def describe_key_counts(keys: Mapping[str, int]) -> str:
    """`context (15,011), difficulty (203)`, the most frequent first, from {key: records}."""
    listed = sorted(keys.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(listed) - MAX_KEYS:,} more" if len(listed) > MAX_KEYS else ""
    return ", ".join(f"{safe_text(key, 60)} ({count:,})" for key, count in listed[:MAX_KEYS]) + more


def counts_by_check(found: Counter[tuple[str, str]], stage: str | None = None) -> dict[str, int]:
    """{check: count} of one stage, or of all, the most frequent first."""
    checks = Counter()
    for (maker, check), count in found.items():
        checks[check] += count if stage in (None, maker) else 0
    return dict(sorted((+checks).items(), key=lambda item: (-item[1], item[0])))
