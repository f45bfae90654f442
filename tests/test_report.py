"""The report says what was built, in words, and nothing that differs between two builds of the same thing."""

import pyarrow.parquet as pq
import pytest

from stages import report


def test_columns_of_numbers_stand_on_the_right():
    assert report.table(["name", "rows"], [["a|b", "1,000"]]) == "| name | rows |\n| --- | --: |\n| a\\|b | 1,000 |"


def test_a_change_is_bold_only_where_its_interval_excludes_zero():
    item = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "change": 0.1, "change_low": 0.05, "change_high": 0.15}
    assert report.cell(item) == "0.500 [0.400, 0.600] (**+0.100**)"
    assert report.cell(item | {"change_low": -0.05}) == "0.500 [0.400, 0.600] (+0.100)"
    assert report.cell(item | {"change": None}) == "0.500 [0.400, 0.600]"


@pytest.mark.slow
def test_the_report_of_a_build_names_datasets_rejects_steps_scores_and_waivers(built):
    text = (built.folder / "report/report.md").read_text(encoding="utf-8")
    for part in ("| chat | sft |", "| align | dpo | sft | pairs |", "### pairs", "(waived: the tiny model"):
        assert part in text
    for path in (built.folder / "data/rejected").iterdir():
        for check in set(pq.read_table(path)["check"].to_pylist()):
            assert f"`{check}`" in text
    assert str(built.folder) not in text


@pytest.mark.slow
def test_scores_of_removed_steps_are_deleted(built, tmp_path, monkeypatch):
    project = built.copy(tmp_path / "copy")
    (project.folder / "scores/gone.json").write_text("{}")
    monkeypatch.chdir(project.folder)
    report.main()
    assert not (project.folder / "scores/gone.json").exists()
    assert (project.folder / "scores/base.json").exists()
