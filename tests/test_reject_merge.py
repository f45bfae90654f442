"""Rejects of all stages are merged in the order of the raw records, and none is lost."""

import random

import pyarrow.parquet as pq
import pytest

from stages.rows import reject_merge
from stages.rows.tables import REJECTS, to_table, write_table


def reject(source, line, stage):
    check = f"{stage}.x"
    return {"id": None, "source": source, "line": line, "stage": stage, "check": check, "detail": "", "raw": "r" * line}


def saved(path, rows):
    write_table(path, to_table(rows, REJECTS), "none")
    return path


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_rows_of_three_files_come_in_the_order_of_the_raw_files(tmp_path, monkeypatch, batch_rows):
    monkeypatch.setattr(reject_merge, "BATCH_ROWS", batch_rows)
    draw = random.Random(3)
    # as paths: a folder stands before a file whose name goes on where the folder's ends
    raw = [(source, line) for source in ("a/b.jsonl", "a-b.jsonl", "c.jsonl") for line in range(1, 12)]
    stages, rows = ("ingest", "validate", "curate"), {"ingest": [], "validate": [], "curate": []}
    for source, line in raw:
        for stage in draw.sample(stages, draw.randint(0, 3)):
            rows[stage] += [reject(source, line, stage)] * draw.randint(1, 2)
    files = [saved(tmp_path / stage, rows[stage]) for stage in stages]
    reject_merge.merge_rejects(files, tmp_path / "all.parquet")
    found = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert len(found) > 40
    everything = [row for stage in stages for row in rows[stage]]
    assert found == sorted(
        everything, key=lambda row: (raw.index((row["source"], row["line"])), stages.index(row["stage"]))
    )


def test_nothing_rejected_is_a_table_without_rows(tmp_path):
    reject_merge.merge_rejects([saved(tmp_path / "a", []), saved(tmp_path / "b", [])], tmp_path / "all.parquet")
    assert pq.read_table(tmp_path / "all.parquet").schema.equals(REJECTS) and not pq.read_table(
        tmp_path / "all.parquet"
    )


def test_a_file_in_another_order_is_a_fault_that_is_told(tmp_path):
    file = saved(tmp_path / "a", [reject("a.jsonl", 2, "ingest"), reject("a.jsonl", 1, "ingest")])
    with pytest.raises(AssertionError, match="not in the order of the raw records"):
        reject_merge.merge_rejects([file], tmp_path / "all.parquet")
