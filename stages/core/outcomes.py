"""Rows beyond `weights` and `max_rows` are "not sampled". They are not rejects.

    separate_not_sampled({("ingest", "ingest.json"): 4, ("curate", "curate.mixed_out"): 1523}) -> ({("ingest", "ingest.json"): 4}, 1523)

data/rejected/<d>.parquet has them too, so that every record of the raw files can be found.
"""

from collections import Counter

NOT_SAMPLED = "curate.mixed_out"


def separate_not_sampled(counts: Counter[tuple[str, str]]) -> tuple[Counter[tuple[str, str]], int]:
    """(counts of the rejects, number of rows that were not sampled). counts: by (stage, check), of data/rejected/<d>.parquet."""
    rejects = Counter({key: count for key, count in counts.items() if key[1] != NOT_SAMPLED})
    return rejects, counts.total() - rejects.total()
