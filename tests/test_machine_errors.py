"""A full disk, a read-only one and a killed worker are one line each, whichever library met them."""

import concurrent.futures
import os
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from disks import disk_of, read_only

from stages import __main__ as stages_main
from stages.core.machine_errors import machine_problem


@pytest.fixture
def small(tmp_path):
    with disk_of(tmp_path / "small", "1m") as folder:
        yield folder


def by_python(folder):
    (folder / "a").write_bytes(os.urandom(2_000_000))


def by_arrow(folder):
    pq.write_table(pa.table({"a": [os.urandom(1_000) for _ in range(2_000)]}), folder / "a.parquet")


def by_duckdb(folder):
    import duckdb

    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT md5(i::VARCHAR) FROM range(200000) t(i)) TO '{folder}/a.parquet'")


def by_duckdb_spilling(folder):
    import duckdb

    with duckdb.connect() as database:
        database.execute(f"SET memory_limit = '20MB'; SET threads = 1; SET temp_directory = '{folder}/spill'")
        database.execute("SELECT md5(i::VARCHAR) AS a FROM range(1000000) t(i) ORDER BY a").fetchall()


def by_safetensors(folder):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(500_000)}, folder / "a.safetensors")


def by_torch(folder):
    import torch

    torch.save({"a": torch.zeros(500_000)}, folder / "a.pt")


SLOW = [pytest.param(write, marks=pytest.mark.slow) for write in (by_safetensors, by_torch)]
WRITERS = [by_python, by_arrow, by_duckdb, by_duckdb_spilling, *SLOW]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_known_by_what_each_library_says_of_it(small, write):
    with pytest.raises(Exception) as raised:
        write(small)
    problem = machine_problem("train sft", raised.value)
    assert str(problem).startswith("train sft: the disk is full: ")
    assert "free some space, then dvc repro" in problem.hint


def test_a_disk_that_is_read_only_is_named(small):
    with read_only(small), pytest.raises(OSError) as raised:
        by_python(small)
    assert "the disk is read-only: " in str(machine_problem("ingest chat", raised.value))


def end(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_named():
    from multiprocessing import get_context

    pool = concurrent.futures.ProcessPoolExecutor(1, get_context("spawn"))
    with pool, pytest.raises(concurrent.futures.process.BrokenProcessPool) as raised:
        list(pool.map(end, [1]))
    assert "one of its processes was killed" in str(machine_problem("ingest chat", raised.value))


def test_the_cause_of_an_error_is_looked_at_and_any_other_error_is_left_to_its_traceback():
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("while saving") from error
    except RuntimeError as error:
        assert "the disk is full" in str(machine_problem("train sft", error))
    assert machine_problem("train sft", ValueError("of ours")) is None


def test_a_stage_that_meets_it_ends_with_one_line(monkeypatch, capsys):
    from stages import collect

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collect, "main", full)
    monkeypatch.setattr(stages_main, "end_with_parent", lambda: None)
    with pytest.raises(SystemExit) as ended:
        stages_main.run("collect", None)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("collect: the disk is full: [Errno 28] No space left on device\n  hint: ")
