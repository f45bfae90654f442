"""What became of every raw record of a dataset, by stage and reason, from the tables themselves.

account("chat", ["sft"]) -> {"dataset": "chat", "records": 3900, "rows": 3880, "rejected": {"ingest": {...}, ...}, "faults": [],
                             "not_sampled": 0, "not_trained": {"sft": {"SAID": 3}}, "not_scored": {}, "kept": None, ...}
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

Result = TypeVar("Result")


class KeptCounts(TypedDict):
    """kept: None where `keep` has not sorted these rows. not_kept: {check: rows}."""

    rule: Mapping[str, Any]
    kept: int | None
    not_kept: dict[str, int]


class Account(TypedDict):
    """rejected: {stage: {check: records}}. not_trained: {step: {proof: rows}}. None: not built yet. faults: what does not add up."""

    dataset: str
    records: int
    rows: int
    rejected: dict[str, dict[str, int] | None]
    not_sampled: int | None
    train: int | None
    eval: int | None
    not_trained: dict[str, dict[str, int] | None]
    not_scored: dict[str, int] | None
    kept: KeptCounts | None
    faults: list[str]


def is_built(item: Account) -> bool:
    """Whether all stages of a dataset have run."""
    return None not in (*item["rejected"].values(), item["train"], item["eval"])


def account(name: str, steps: Iterable[str] = (), rule: Mapping[str, Any] | None = None) -> Account:
    """The account of a dataset. Raises Problems where nothing is built yet, or a file cannot be read.

    steps: the names of those that train on it. rule: its entry in `difficulty`, None where it has none.
    """
    from stages.core.outcomes import separate_not_sampled
    from stages.rows.rejects import counts_by_check, reject_counts

    parts, refused = read_ingested(name)
    invalid, rejected = (
        read_parquet(f"data/{room}/{name}.parquet", reject_counts) for room in ("validated", "rejected")
    )
    train, held_out = (read_columns(f"data/{room}/{name}.parquet", []) for room in ("train", "eval"))
    origins = [table for part in parts if (table := read_columns(part, ["source", "line"])) is not None]
    rows, records = sum(map(len, origins)), sum(count_records(origin) for origin in origins)
    curate_rejects, not_sampled = (None, None) if rejected is None else separate_not_sampled(rejected)
    train_rows = None if train is None else len(train)
    not_trained, not_scored = count_left_out(name, steps, train_rows)
    found: Account = {
        "dataset": name,
        "records": records + refused.total(),
        "rows": rows,
        "rejected": {
            "ingest": counts_by_check(refused),
            "validate": None if invalid is None else counts_by_check(invalid),
            "curate": None if curate_rejects is None else counts_by_check(curate_rejects, "curate"),
        },
        "not_sampled": not_sampled,
        "train": train_rows,
        "eval": None if held_out is None else len(held_out),
        "not_trained": not_trained,
        "not_scored": not_scored,
        "kept": count_kept(name, rule, train_rows),
        "faults": [],
    }
    found["faults"] = find_faults(found, rejected)
    return found


def count_kept(name: str, rule: Mapping[str, Any] | None, train: int | None) -> KeptCounts | None:
    """The train prompts that `difficulty` keeps; None where it has no rule for the dataset."""
    from stages.rows.rejects import counts_by_check
    from stages.training.kept_prompts import kept_path

    if rule is None:
        return None
    rows = read_columns(kept_path(name), ["check"])
    if train is None or rows is None or len(rows) != train:
        return {"rule": rule, "kept": None, "not_kept": {}}
    counts = Counter(("keep", check) for check in rows["check"].to_pylist() if check)
    return {"rule": rule, "kept": train - counts.total(), "not_kept": counts_by_check(counts)}


def count_left_out(
    name: str, steps: Iterable[str], rows: int | None
) -> tuple[dict[str, dict[str, int] | None], dict[str, int] | None]:
    """({step: {proof: rows not trained}}, {proof: rows not scored}) by preflight; None where it has not run on these rows.

    rows: in train.
    """
    from stages.training.left_out_rows import DROPPED, UNSCORED, count_by_proof, read_left_out

    not_trained = {
        step: count_by_proof(read_left_out(DROPPED, step=step)) if is_examined(step, name, rows) else None
        for step in steps
    }
    return not_trained, count_by_proof(read_left_out(UNSCORED, dataset=name)) if Path(UNSCORED).exists() else None


def is_examined(step: str, name: str, rows: int | None) -> bool:
    """Whether preflight has examined a step on so many rows of this dataset."""
    import json

    path = Path("preflight", f"{step}.json")
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return (found.get("dataset"), found.get("rows")) == (name, rows)


def find_faults(found: Account, rejected: Counter[tuple[str, str]] | None) -> list[str]:
    """What does not add up, in words. rejected: {(stage, check): records} of the file of all rejects."""
    from stages.rows.rejects import counts_by_check

    if rejected is None or not is_built(found):
        return []
    sums = {stage: sum((counts or {}).values()) for stage, counts in found["rejected"].items()}
    faults = []
    kept = sum(count or 0 for count in (found["not_sampled"], found["train"], found["eval"]))
    out = sums["validate"] + sums["curate"] + kept
    if out != found["rows"]:
        faults.append(f"does not add up: {found['rows']:,} rows in, but {out:,} in train, eval and rejected")
    for stage in ("ingest", "validate"):
        there = sum(counts_by_check(rejected, stage).values())
        if there != sums[stage]:
            faults.append(f"does not add up: {stage} rejected {sums[stage]:,}, but data/rejected has {there:,} of them")
    return faults


def read_ingested(name: str) -> tuple[list[Path], Counter[tuple[str, str]]]:
    """(Parquet files of rows, {(stage, check): records} of rejects) of ingest. Raises Problems where it has not run."""
    from stages.rows.rejects import reject_counts
    from validators.problems import Problem, Problems

    folder = Path("data/ingested", name)
    refused = read_parquet(folder / "rejects.parquet", reject_counts)
    if refused is None:
        hint = f"dvc repro curate@{name}, or dvc pull if a colleague built it"
        raise Problems([Problem(f"datasets.{name}", f"{folder} is not there: nothing is built yet", "", hint)])
    return sorted((folder / "rows").glob("*.parquet")), refused


def read_columns(path: str | Path, columns: list[str]) -> "pa.Table | None":
    """Columns of a Parquet file, None where the file is missing. Raises Problems where it is not Parquet."""
    import pyarrow.parquet as pq

    return read_parquet(path, lambda path: pq.read_table(path, columns=columns))


def read_parquet(path: str | Path, read: Callable[[str | Path], Result]) -> Result | None:
    """What `read` returns for a Parquet file, None where the file is missing. Raises Problems where it is not Parquet."""
    import pyarrow as pa

    from validators.problems import Problem, Problems

    if not Path(path).exists():
        return None
    try:
        return read(path)
    except (pa.ArrowException, OSError, KeyError) as error:  # KeyError: of a column
        found = str(error).splitlines()[0]
        raise Problems(
            [Problem(str(path), f"cannot be read: {found}", "Parquet", "dvc checkout, or dvc repro")]
        ) from None


def count_records(origin: "pa.Table") -> int:
    """How many records rows come from: the rows of one record stand beside each other."""
    lines, sources = origin["line"].to_numpy(), origin["source"].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = (lines[1:] != lines[:-1]) | (sources[1:] != sources[:-1])
    return int(changes.sum()) + bool(len(lines))
