"""The split keys of rows that `eval:` keeps out of training, computed from the rows. `pin` writes them; `tilth verify` computes them again.

data/ingested/<d>/ -> {"9a1c0e...", ...}
"""

from pathlib import Path

from stages.dedup.decision import open_database
from stages.dedup.split import register_normalised, split_key_sql

INGESTED_FOLDER = Path("data/ingested")


def source_files(name: str) -> list[str]:
    """The raw files of a dataset that have a row or a reject, sorted."""
    files = [str(path) for path in (INGESTED_FOLDER / name).rglob("*.parquet")]
    result = open_database().execute(
        "SELECT DISTINCT source FROM read_parquet($files, union_by_name = true)", {"files": files}
    )
    return sorted(source for (source,) in result.fetchall())


def split_keys_of(name: str, sources: list[str], kind: str) -> set[str]:
    """The split keys of all rows of these raw files, with and without their system turns."""
    files = sorted(str(path) for path in (INGESTED_FOLDER / name / "rows").glob("*.parquet"))
    if not files or not sources:
        return set()
    both = f"prompt_key, {split_key_sql(kind, ['system', 'user'])}"
    result = register_normalised(open_database()).execute(
        f"SELECT DISTINCT unnest([{both}]) FROM read_parquet($files) WHERE source IN (SELECT unnest($sources))",
        {"files": files, "sources": sources},
    )
    return {key for (key,) in result.fetchall()}
