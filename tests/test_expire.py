"""Raw files whose day has come are left out from that day on, and curate reruns on that day alone."""

import json
from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest
from builds import run_data_stages, write_params
from conftest import small_project
from test_params import put, shipped

from commands.check import expiry_lines
from stages import expire
from validators._by_file import expired_patterns
from validators.params import examine

BEFORE, ON = (str(int(datetime(*day, tzinfo=UTC).timestamp())) for day in ((2026, 12, 31, 23), (2027, 1, 1)))


@pytest.mark.parametrize(
    "today, gone", [("2026-12-31", {}), ("2027-01-01", {"*": "2027-01-01"}), ("2030-01-01", {"*": "2027-01-01"})]
)
def test_the_day_itself_is_the_first_on_which_it_is_gone(today, gone):
    assert expired_patterns("2027-01-01", date.fromisoformat(today)) == gone


def test_each_pattern_has_its_day():
    assert expired_patterns({"a": "2027-01-01", "b": "2028-01-01"}, date(2027, 6, 1)) == {"a": "2027-01-01"}


@pytest.mark.parametrize(
    "rule, where, said",
    [
        ({"chta": "2027-01-01"}, "expires.chta", "did you mean 'chat'?"),
        ({"chat": "2027-13-01"}, "expires.chat", "is not a date"),
        ({"chat": "20270101"}, "expires.chat", "is not a date"),
        ({"chat": {"data/raw/*": "soon"}}, "expires.chat.data/raw/*", "is not a date"),
        ({"chat": date(2027, 1, 1)}, "expires.chat", "a day in quotes"),
        ({"chat": {"a": date(2027, 1, 1)}}, "expires.chat", "a day in quotes"),
    ],
)
def test_a_mistake_in_a_day_is_named(rule, where, said):
    (problem,) = examine(put(shipped(), "expires", rule))[0]
    assert problem.where == f"params.yaml: {where}" and said in str(problem)


@pytest.mark.parametrize(
    "rule", [{}, {"chat": "2027-01-01"}, {"chat": {"data/raw/chat/*": "2027-01-01"}, "pairs": "2026-01-01"}]
)
def test_a_right_rule_passes(rule):
    assert examine(put(shipped(), "expires", rule))[0] == []


def test_check_tells_what_is_past_and_what_is_near(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", ON)
    rule = {"a": "2027-01-01", "b": {"x*": "2027-01-02", "y*": "2029-01-01"}}
    assert list(expiry_lines(rule)) == [
        "expired: a: all of it, on 2027-01-01: dvc repro leaves its rows out",
        "expires: b: x*, on 2027-01-02, in 1 day",
    ]


def test_rows_of_what_has_expired_are_rejected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    for name in ("old", "new"):
        rows = (json.dumps({"prompt": f"{name} {i}", "completion": "a"}) + "\n" for i in range(9))
        (tmp_path / f"raw/{name}.jsonl").write_text("".join(rows))
    write_params("datasets: {d: {kind: sft, raw: raw}}\nexpires: {d: {raw/old*: '2027-01-01'}}\n")
    for epoch, count in ((BEFORE, 0), (ON, 9)):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        expire.main("d")
        run_data_stages("d")
        rejects = pq.read_table("data/rejected/d.parquet").to_pylist()
        assert len(rejects) == count
    assert {(row["source"], row["check"], row["detail"]) for row in rejects} == {
        ("raw/old.jsonl", "curate.expired", "expired on 2027-01-01")
    }


def test_without_a_rule_what_was_written_for_another_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.jsonl").write_text(
        "".join(json.dumps({"prompt": str(i), "completion": "a"}) + "\n" for i in range(9))
    )
    (tmp_path / ".build/expired").mkdir(parents=True)
    (tmp_path / ".build/expired/d.json").write_text('{"*": "2020-01-01"}')
    write_params("datasets: {d: {kind: sft, raw: raw.jsonl}}\n")
    run_data_stages("d")
    assert pq.read_metadata("data/rejected/d.parquet").num_rows == 0


@pytest.mark.slow
def test_dvc_reruns_curate_on_the_day_and_on_no_other(tmp_path, monkeypatch):
    project = small_project(tmp_path)
    rows = "".join(json.dumps({"prompt": f"more {i}", "completion": "a"}) + "\n" for i in range(20))
    (tmp_path / "data/raw/chat/more.jsonl").write_text(rows)
    rule = "expires: {chat: {data/raw/chat/more.jsonl: '2027-01-01'}}\n"
    (tmp_path / "params.yaml").write_text((tmp_path / "params.yaml").read_text() + rule)
    reran, planned = [], []
    for epoch in (BEFORE, BEFORE, ON, ON):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        if reran:
            told = project.run("python", "-m", "commands", "plan")
            planned.append("curate@chat" in told)
        reran.append("Running stage 'curate@chat'" in project.run("dvc", "repro", "curate@chat"))
    assert reran == [True, False, True, False]
    assert planned == [False, True, False]
