import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.rows.rejects import counts_by_check, reject_counts

ROWS = [("ingest", "a.json"), ("curate", "b.same"), ("curate", "b.same"), ("curate", "a.json"), ("curate", "c.near")]


@pytest.fixture
def path(tmp_path):
    names = {"stage": [stage for stage, _ in ROWS], "check": [check for _, check in ROWS], "raw": ["x"] * len(ROWS)}
    pq.write_table(pa.table(names), tmp_path / "rejects.parquet", row_group_size=2)
    return tmp_path / "rejects.parquet"


def test_records_are_counted_by_stage_and_check(path):
    assert reject_counts(path) == {
        ("ingest", "a.json"): 1,
        ("curate", "b.same"): 2,
        ("curate", "a.json"): 1,
        ("curate", "c.near"): 1,
    }


def test_checks_stand_the_most_frequent_first_then_by_name(path):
    assert list(counts_by_check(reject_counts(path)).items()) == [("a.json", 2), ("b.same", 2), ("c.near", 1)]
    assert list(counts_by_check(reject_counts(path), "curate").items()) == [("b.same", 2), ("a.json", 1), ("c.near", 1)]
    assert counts_by_check(reject_counts(path), "validate") == {}


def test_a_file_without_rejects_has_no_counts(tmp_path):
    pq.write_table(pa.table({"stage": pa.array([], pa.string()), "check": pa.array([], pa.string())}), tmp_path / "x")
    assert not reject_counts(tmp_path / "x")


def test_a_file_that_is_no_parquet_is_an_error(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 100)
    with pytest.raises(pa.ArrowException):
        reject_counts(tmp_path / "x")
