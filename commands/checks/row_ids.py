"""Recompute the id of every row from its content, and its side of the split from its prompt.

A side is a function of the prompt, the seed and the pinned keys. If every row is on the side of its prompt, no prompt is on
both sides, not even in two datasets (with one `split_on`; docs/split.md). The check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.builds.build import Build
from commands.builds.evidence import Evidence, Verdict
from commands.builds.params import params_of_run
from commands.checks.conservation import REBUILD_HINT, WITHOUT_TEXT, first_few, short_id, tables_of
from validators.problems import Problem

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 5_000
Split = tuple[Any, Any, Sequence[str]]  # (seed, eval_fraction, split_on) as params.yaml had them
Work = tuple[str, str, str, Split, tuple[int, int]]  # (file, room, kind, split, (row group, its rows))
Origin = dict[str, Any]  # {id, source, line, prompt_key?, ...} of a row or reject
RowProblem = tuple[str, str, str, str]  # (kind of problem, where, found, expected)


def rows(evidence: Evidence) -> Verdict:
    """Every row has the id of its content, and is on the side of its prompt."""
    from stages.reading.parts import map_items, with_progress_bar

    work: list[Work] = []
    for name, dataset in evidence.build.datasets.items():
        paths, split = tables_of(name), split_of(evidence.build, name)
        for room in ("rows", "train", "eval", "rejected"):
            work += [(path, room, dataset["kind"], split, group) for path in paths[room] for group in row_groups(path)]
    total = sum(count for *_, (_, count) in work)
    check = partial(check_group, every=max(1, -(-total // evidence.sample)) if evidence.sample else 1)
    size = sum({path: Path(path).stat().st_size for path, *_ in work}.values())
    made = with_progress_bar(map_items(check, work, size), len(work), "ids")
    counts, problems = {"checked": 0, "total": 0}, {}
    for item, (count, with_id, found) in zip(work, made, strict=True):
        counts["checked"] += count
        counts["total"] += with_id
        for what, *problem in found:
            problems.setdefault((item[0], what), []).append(
                Problem(f"{item[0]}: {problem[0]}", *problem[1:], REBUILD_HINT)
            )
    return counts, [problem for (_, what), found in problems.items() for problem in first_few(found, what)]


def split_of(build: Build, name: str) -> Split:
    """(seed, eval_fraction, split_on) of the last split of a dataset. The check `lock` reports if params.yaml has others now."""
    before = params_of_run(build, f"curate@{name}") or {}
    entry = before.get("datasets", {}).get(name, build.datasets[name])
    # older builds do not have this key
    return *(before.get(key, build.params.get(key)) for key in ("seed", "eval_fraction")), entry.get("split_on") or []


def row_groups(path: str) -> list[tuple[int, int]]:
    """(number, rows) of each row group of a Parquet file; empty where it cannot be read, which the check `records` reports."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return []
    return [(number, metadata.row_group(number).num_rows) for number in range(metadata.num_row_groups)]


def check_group(work: Work, every: int) -> tuple[int, int, list[RowProblem]]:
    """(rows checked, rows with an id, problems) of one row group. every: 3 checks each third row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, room, kind, split, (group, _) = work
    count = with_id = 0
    problems = []
    try:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, row_groups=[group]):
            found = list(read_rejects(batch) if room == "rejected" else read_rows(batch, kind))
            with_id += len(found)
            for origin, row in found[::every]:
                count += 1
                problems += row_problems(origin, row, room, kind, split)
    except (pa.ArrowException, OSError, KeyError) as error:
        problems.append(("places cannot be read", f"row group {group}", f"cannot be read: {error}", "Parquet as built"))
    return count, with_id, problems


def row_problems(origin: Origin, row: Any, room: str, kind: str, split: Split) -> list[RowProblem]:
    """What is wrong with one row. origin: its id, place and keys."""
    from stages.dedup.split import on_eval_side, read_pinned, split_key, system_of
    from stages.rows.identity import identify

    where = f"row {short_id(origin['id'])} ({origin['source']}:{origin['line']})"
    try:
        made = identify(row, kind)
    except (KeyError, TypeError, ValueError):  # its content is not a row of its kind
        made = None
    if made is None or made["id"] != origin["id"]:
        shown = short_id(made["id"]) if made else "nothing"
        return [("rows are not what their ids say", where, f"its content has the id {shown}", short_id(origin["id"]))]
    if room == "rows" and made["prompt_key"] != origin["prompt_key"]:
        return [
            (
                "prompt keys differ",
                where,
                "its prompt_key does not belong to its prompt",
                "the hash of its first user turn",
            )
        ]
    if room not in ("train", "eval"):
        return []
    seed, eval_fraction, split_on = split
    key = split_key(made["prompt_key"], system_of(row["messages" if kind == "sft" else "prompt"]), split_on)
    side = "eval" if key in read_pinned() or on_eval_side(key, seed, eval_fraction) else "train"
    if side != room:
        return [("rows are on the wrong side", where, f"is in {room}", f"{side}, the side of its prompt")]
    return []


def read_rows(batch: "pa.RecordBatch", kind: str) -> Iterator[tuple[Origin, dict[str, Any]]]:
    """Yields (origin, row) for each row of a batch."""
    from stages.rows.tables import COLUMNS

    columns = {name: column_values(batch.column(name)) for name in COLUMNS[kind]}
    names = [name for name in ("id", "source", "line", "prompt_key") if name in batch.schema.names]
    origins = {name: batch.column(name).to_pylist() for name in names}
    for number in range(batch.num_rows):
        yield (
            {name: column[number] for name, column in origins.items()},
            {name: column[number] for name, column in columns.items()},
        )


def column_values(column: "pa.Array") -> list[Any]:
    """A column as Python values. Reads messages field by field, several times as fast as to_pylist."""
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        return column.storage.to_pylist()
    if not pa.types.is_list(column.type):
        return column.to_pylist()
    turns = column.flatten()
    fields = [column_values(field) for field in turns.flatten()]
    names = [field.name for field in column.type.value_type]
    flat = [dict(zip(names, turn, strict=True)) for turn in zip(*fields, strict=True)]
    ends = column.value_lengths().fill_null(0).to_numpy().cumsum().tolist()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read_rejects(batch: "pa.RecordBatch") -> Iterator[tuple[Origin, Any]]:
    """Yields (origin, row) for each reject that was a row; the row is None where its text does not parse."""
    from stages.rows.personal_data import WITHHELD

    for reject in batch.to_pylist():
        withheld = reject["raw"] is None and WITHHELD in reject["detail"]
        if reject["id"] is not None and reject["check"] not in WITHOUT_TEXT and not withheld:
            try:
                row = json.loads(reject["raw"])
            except (TypeError, ValueError):
                row = None
            yield reject, row
