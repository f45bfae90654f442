"""What was not asked for is no reject: rows beyond `weights` and `max_rows` are "not sampled".

    sampled({("ingest", "ingest.json"): 4, ("curate", "curate.mixed_out"): 1523}) -> ({("ingest", "ingest.json"): 4}, 1523)

They stand in data/rejected/<d>.parquet all the same, so that every record of the raw files is found.
"""

from collections import Counter

NOT_SAMPLED = "curate.mixed_out"


def separate_not_sampled(found: Counter[tuple[str, str]]) -> tuple[Counter[tuple[str, str]], int]:
    """(the rejects, how many rows were not sampled). found: Counter by (stage, check), as `rows.rejects.counts` gives it."""
    rejected = Counter({key: count for key, count in found.items() if key[1] != NOT_SAMPLED})
    return rejected, found.total() - rejected.total()
