"""Parts of a file: nothing between them, nothing twice, line numbers right, and results in order."""

import io
import json
import shutil
import sys

import pytest
from builds import write_params

from stages import ingest, validate
from stages.reading.parts import map_items, parts_of, with_progress_bar
from stages.reading.readers import read_lines
from validators.problems import Problems


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b'{"a": 22}\r\n\n' * 50 + b'{"a": 3}')
    return path


@pytest.mark.parametrize("part_bytes", [1, 7, 64, 100, 10_000])
def test_parts_cover_a_file_without_gap_or_overlap(file, part_bytes):
    parts = parts_of(file, part_bytes)
    assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == file.stat().st_size


@pytest.mark.parametrize("part_bytes", [1, 7, 64, 100, 10_000])
def test_lines_of_parts_are_the_lines_of_the_file(file, part_bytes):
    expected = [(n, line.rstrip(b"\r")) for n, line in enumerate(file.read_bytes().split(b"\n"), 1) if line.strip()]
    assert [line for part in parts_of(file, part_bytes) for line in read_lines(part)] == expected


def test_a_file_that_is_not_json_lines_is_one_part(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\n" + "a,b\n" * 100)
    assert len(parts_of(path, 10)) == 1


@pytest.mark.parametrize("size_bytes", [0, 2**30])
def test_results_come_in_the_order_of_the_items(size_bytes):
    assert list(map_items(abs, [-3, -1, -2], size_bytes)) == [3, 1, 2]


def test_a_bar_changes_no_result_and_is_not_drawn_where_there_is_no_terminal(capsys):
    assert list(with_progress_bar(iter([3, 1, 2]), 3, "validate chat")) == [3, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_drawn_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(with_progress_bar(iter([3, 1, 2]), 3, "validate chat")) == [3, 1, 2]
    assert "validate chat" in terminal.getvalue()


def test_without_ray_the_engine_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Problems, match="ray is not installed"):
        list(map_items(abs, [-1], 0, "ray"))


@pytest.mark.slow
def test_ray_makes_the_same_bytes(tmp_path, monkeypatch, ray_cluster):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    lines = [json.dumps({"prompt": f"q{i}", "completion": "a"}) + "\n" for i in range(50)]
    (tmp_path / "raw/a.jsonl").write_text("".join(lines))
    (tmp_path / "raw/b.csv").write_text("prompt,completion\nq,\n")
    made = {}
    for engine in ("local", "ray"):
        write_params(f"engine: {engine}\ndatasets: {{d: {{kind: sft, raw: raw, max_reject_share: 1}}}}")
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        ingest.main("d")
        validate.main("d")
        made[engine] = {str(p.relative_to(tmp_path)): p.read_bytes() for p in (tmp_path / "data").rglob("*.parquet")}
    assert len(made["local"]) == 4
    assert made["local"] == made["ray"]
