"""Recompute data/pinned.txt: the split keys of all rows of the files that `eval:` names, from the rows of `ingest`.

`row_ids.py` proves the sides of all rows with this file: a missing key would let a pinned prompt into training unnoticed. The check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

from pathlib import Path

from commands.builds.evidence import Evidence, Verdict
from commands.builds.params import params_of_run
from commands.checks.conservation import REBUILD_HINT
from validators.problems import Problem


def pinned(evidence: Evidence) -> Verdict:
    """The keys in the file are those of the rows that `pin` read, with the params that it ran with."""
    from stages.dedup.pinned_keys import INGESTED_FOLDER, source_files, split_keys_of
    from stages.dedup.split import PINNED_FILE, is_pinned, pinned_text

    counts = {"keys": 0, "files": 0}
    datasets = (params_of_run(evidence.build, "pin") or {}).get("datasets", {})
    pinning = {name: dataset for name, dataset in datasets.items() if dataset.get("eval")}
    if not PINNED_FILE.is_file() or not all(list((INGESTED_FOLDER / name).rglob("*.parquet")) for name in pinning):
        return counts, []  # the check `outputs` names what is missing; older builds have no `pin`
    keys: set[str] = set()
    for name, dataset in pinning.items():
        sources = [source for source in source_files(name) if is_pinned(source, dataset)]
        keys |= split_keys_of(name, sources, dataset["kind"])
        counts["files"] += len(sources)
    counts["keys"] = len(keys)
    return counts, key_problems(PINNED_FILE, pinned_text(keys))


def key_problems(path: Path, wanted: str) -> list[Problem]:
    """A Problem where keys are missing or come from no row, with the first of each."""
    found = path.read_text(encoding="utf-8", errors="replace")
    if found == wanted:
        return []
    here, there = (set(text.splitlines()) for text in (found, wanted))
    parts = [
        f"{len(lines):,} {what} (the first is {min(lines)[:12]})"
        for lines, what in (
            (there - here, "keys of pinned rows are missing"),
            (here - there, "keys are of no pinned row"),
        )
        if lines
    ]
    return [
        Problem(
            str(path),
            "; ".join(parts) or "its lines are in another order",
            "the keys of the rows of files under `eval:`",
            REBUILD_HINT,
        )
    ]
