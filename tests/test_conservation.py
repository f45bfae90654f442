import gzip
import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params

from commands.checks.conservation import MAX_SHOWN, records

PARAMS = """
seed: 7
eval_fraction: 0.3
datasets:
  chat: {kind: sft, raw: raw, max_reject_share: 1}
"""
DATASETS = {"chat": {"kind": "sft", "raw": "raw", "max_reject_share": 1}}


def asked(name):
    return [{"instruction": f"{name} {i}", "output": "a"} for i in range(12)]


def lines(name):
    return "".join(json.dumps(record) + "\n" for record in asked(name)).encode()


@pytest.fixture
def built(tmp_path, monkeypatch, capsys):
    """A dataset of a file of each container, with what makes counting lines hard."""
    monkeypatch.chdir(tmp_path)
    write_params(PARAMS)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + lines("a") + b'\n \r\n{\r\n"\xff"\n' + lines("more").replace(b"\n", b"\r\n")
    )
    (raw / "b.json").write_text(json.dumps([*asked("b"), 3], indent=1))
    (raw / "c.csv").write_text('instruction,output\n"two\nlines",a\nx,y,z\n' + "".join(f"c {i},a\n" for i in range(9)))
    (raw / "d.jsonl.gz").write_bytes(gzip.compress(lines("d"))[:-20])
    pq.write_table(pa.Table.from_pylist(asked("e")), raw / "e.parquet")
    run_data_stages("chat")
    capsys.readouterr()
    return raw


def broken():
    """{where: found} of the problems of a build in the working folder."""
    build = SimpleNamespace(datasets=DATASETS, params={})
    counts, problems = records(SimpleNamespace(build=build, rev=None, absent_in=lambda path: False))
    assert counts["records"] > 50
    return {problem.where: problem.found for problem in problems}


def test_every_container_is_accounted_for(built):
    assert broken() == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "found"),
    [
        ("a.jsonl", b"\n \r\n", b"\n{}\r\n", 14, "no row and no reject comes from this record"),
        ("a.jsonl", b"\n{\r\n", b"\n\r\n", 15, "a row or reject comes from a record that does not exist"),
        ("b.json", b"\n 3\n", b"\n 3, 4\n", 14, "no row and no reject comes from this record"),
        ("c.csv", b"x,y,z\n", b"", 13, "a row or reject comes from a record that does not exist"),
    ],
)
def test_a_record_more_or_less_in_a_raw_file_is_named(built, name, old, new, line, found):
    data = (built / name).read_bytes()
    assert old in data
    (built / name).write_bytes(data.replace(old, new))
    assert broken()[f"datasets.chat: raw/{name}:{line}"] == found


def test_a_file_that_is_gone_and_one_that_nothing_is_made_of_are_named(built):
    (built / "e.parquet").unlink()
    (built / "f.jsonl").write_bytes(lines("f"))
    found = broken()
    assert found["datasets.chat: raw/e.parquet"] == "rows come from this file, but it is missing"
    assert found["datasets.chat"].startswith(f"{13 - MAX_SHOWN} more")


def test_a_table_that_is_none_is_named_alone(built, tmp_path):
    (tmp_path / "data/eval/chat.parquet").write_text("no Parquet")
    build = SimpleNamespace(datasets=DATASETS, params={})
    _, problems = records(SimpleNamespace(build=build, rev=None, absent_in=lambda path: False))
    assert [problem.where for problem in problems] == ["data/eval/chat.parquet"]
