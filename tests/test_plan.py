"""The plan is held against what real `dvc repro` then does."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from commands.plan import summary_line, text_lines, time_line
from commands.planning.estimate import optimizer_steps
from stages.core.progress import format_duration

ROW = '{"prompt": "What is new here?", "completion": "A row."}\n'


def files(project):
    """What git says of the working tree, ignored files too; without what DVC and Python keep for themselves."""
    lines = project.run("git", "status", "--short", "--ignored").splitlines()
    return [line for line in lines if not any(own in line for own in ("__pycache__", ".dvc/tmp", ".dvc-state"))]


def plan(project):
    """(stages by verdict, why by stage) of `tilth plan`, which must leave the project as it is."""
    before = files(project)
    found = json.loads(project.run(sys.executable, "-m", "commands", "plan", "--json"))
    assert files(project) == before
    verdicts = {}
    for item in found["stages"]:
        verdicts.setdefault(item["verdict"], set()).add(item["stage"])
    return verdicts, {item["stage"]: item.get("why") for item in found["stages"]}


def holds(verdicts, output):
    """Whether a repro did what was planned: all that was certain, and nothing that was not foreseen."""
    ran = set(re.findall(r"Running stage '([^']+)'", output))
    restored = set(re.findall(r"Stage '([^']+)' is cached", output))
    certain, possible = verdicts.get("runs", set()), verdicts.get("may run", set())
    assert certain <= ran <= certain | possible
    assert verdicts.get("restored", set()) <= restored
    return True


def edit_params(project, change):
    params = project.read_params()
    change(params)
    project.write_params(params)


def add_row(project, name="chat"):
    path = next((project.folder / "data/raw" / name).iterdir())
    path.write_text(path.read_text(encoding="utf-8") + ROW, encoding="utf-8")
    return path.relative_to(project.folder).as_posix()


@pytest.mark.slow
def test_a_plan_is_what_repro_does_and_names_the_cause(built, tmp_path):
    project = built.copy(tmp_path / "p")
    assert set(plan(project)[0]) == {"unchanged"}

    edit_params(project, lambda params: params["steps"]["align"]["args"].update(learning_rate=2e-5))
    verdicts, why = plan(project)
    assert verdicts["runs"] == {"check", "preflight", "train@align", "report"}
    assert verdicts["may run"] == {"evaluate@align", "collect_scores", "gate"}
    assert why["preflight"] == ["steps.align.args.learning_rate: 0.0001 -> 2e-05"]
    assert why["train@align"] == ["preflight/align.json: args.learning_rate: 0.0001 -> 2e-05"]
    assert why["evaluate@align"] == ["if models/align comes out different"]
    assert holds(verdicts, project.run("dvc", "repro"))

    edit_params(project, lambda params: params["steps"]["align"]["args"].update(learning_rate=1e-4))
    verdicts, _ = plan(project)
    assert verdicts["runs"] == {"check"} and "may run" not in verdicts
    assert verdicts["restored"] == {"preflight", "train@align", "evaluate@align", "collect_scores", "gate", "report"}
    assert holds(verdicts, project.run("dvc", "repro"))

    (project.folder / "stages/collect.py").write_text(
        (project.folder / "stages/collect.py").read_text(encoding="utf-8") + "# a comment\n", encoding="utf-8"
    )
    verdicts, why = plan(project)
    assert verdicts["runs"] == {"code"} and "may run" not in verdicts
    assert why["code"] == ["stages/collect.py: 1 line since the last build"]
    assert holds(verdicts, project.run("dvc", "repro"))

    project.edit("stages/collect.py", "# a comment", "UNUSED = 1")
    verdicts, why = plan(project)
    assert verdicts["runs"] == {"code", "collect"} and "train@sft" not in verdicts["may run"]
    assert why["collect"] == ["stages/collect.py changed"]
    assert holds(verdicts, project.run("dvc", "repro"))


@pytest.mark.slow
def test_edits_of_data_and_of_the_graph_are_planned_stage_by_stage(built, tmp_path):
    project = built.copy(tmp_path / "p")
    file = add_row(project)
    verdicts, why = plan(project)
    assert verdicts["runs"] == {"ingest@chat"}
    assert why["ingest@chat"] == [f"{file}: 1 line since the last build"]
    assert {"validate@chat", "curate@chat", "collect", "train@sft"} <= verdicts["may run"]
    assert {"ingest@pairs", "curate@pairs", "base"} <= verdicts["unchanged"]
    project.run("git", "checkout", "data/raw")

    edit_params(project, lambda params: params["steps"].pop("align"))
    verdicts, _ = plan(project)
    assert verdicts["runs"] == {"check", "preflight", "collect_scores", "gate", "report"}
    assert {"train@sft", "evaluate@sft", "evaluate_base"} <= verdicts["unchanged"]
    said = project.run(sys.executable, "-m", "commands", "plan")
    assert "still in dvc.lock: train@align, evaluate@align (tilth prune)" in said

    more = {"kind": "sft", "raw": "data/raw/chat", "max_reject_share": 0.3}
    edit_params(project, lambda params: params["datasets"].update(more=more))
    verdicts, why = plan(project)
    assert {"ingest@more", "validate@more", "curate@more", "collect", "preflight"} <= verdicts["runs"]
    assert {"evaluate@sft", "evaluate_base"} <= verdicts["runs"]
    assert "train@sft" in verdicts["unchanged"]
    assert why["ingest@more"] == ["it was never built"]
    assert holds(verdicts, project.run("dvc", "repro"))


@pytest.mark.slow
def test_what_is_missing_is_restored_where_the_cache_has_it_and_else_runs(built, tmp_path):
    project = built.copy(tmp_path / "p")
    shutil.rmtree(project.folder / "models/sft")
    verdicts, why = plan(project)
    assert verdicts == {"restored": {"train@sft"}, "unchanged": verdicts["unchanged"]}
    assert why["train@sft"] == ["models/sft is not there"]

    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(project.folder), str(clone)], check=True)
    project.folder = clone
    verdicts, why = plan(project)
    assert "train@align" in verdicts["runs"] and "report" in verdicts["runs"]
    assert verdicts["may run"] == {"gate"}  # git has gates.json, which is as it was if the scores come out as they were
    (clone / "dvc.lock").unlink()
    verdicts, why = plan(project)
    assert set(verdicts) == {"runs"} and why["check"] == ["it was never built"]


@pytest.mark.slow
def test_a_mistake_in_params_stops_the_plan_as_it_would_stop_the_build(built, tmp_path):
    project = built.copy(tmp_path / "p")
    edit_params(project, lambda params: params["steps"]["align"].update({"from": "sfd"}))
    said = project.run(sys.executable, "-m", "commands", "plan", fails=True)
    assert "steps.align.from" in said and "Traceback" not in said


@pytest.mark.slow
def test_times_of_stages_are_kept_for_the_plan_and_nothing_can_come_of_them(built, tmp_path):
    project = built.copy(tmp_path / "p")
    lines = (project.folder / ".work/times.jsonl").read_text(encoding="utf-8").splitlines()
    records = {record["stage"]: record for record in map(json.loads, lines)}
    assert records["train@sft"].keys() == {
        "stage", "seconds", "cpu_seconds", "base", "device", "method", "dataset", "optimizer_steps",
    }  # fmt: skip
    assert project.run("git", "check-ignore", ".work/times.jsonl")
    shutil.rmtree(project.folder / ".work")
    (project.folder / ".work").write_text("a file where the folder should be", encoding="utf-8")
    project.run(sys.executable, "-m", "stages", "check")


def item(stage, verdict, **more):
    return {"stage": stage, "verdict": verdict, "why": ["because"], **more}


def test_the_first_line_counts_the_stages_of_each_kind():
    stages = [item("a", "runs"), item("b", "restored"), item("c", "may run"), item("d", "unchanged")]
    assert summary_line(stages) == "dvc repro would run 1, restore 1, may run 1 more of 4 stages; 1 stay as they are"
    assert summary_line(stages[3:]) == "dvc repro would run nothing: all 1 stages are built"


def test_figures_stand_under_the_reasons():
    stages = [item("train@a", "runs", seconds=3.2, optimizer_steps=1200, tokens=5000, approximate=True)]
    said = list(
        text_lines(
            {
                "stages": stages,
                "seconds": {"least": 3.2, "most": 3.2, "unknown": []},
                "not_in_cache": [],
                "left_behind": [],
            }
        )
    )
    assert said[3:] == [
        "  train@a  because",
        "           about 1,200 optimizer steps, about 5,000 tokens a pass, 3 s by the last run",
        "",
        "time: about 3 s",
    ]


def test_time_is_a_range_and_says_what_it_does_not_know():
    assert time_line({"least": 60, "most": 300, "unknown": ["a"]}) == (
        "time: about 60 s, up to 5 min; unknown for a, which has not run with this base and device before"
    )
    assert "unknown" in time_line({"least": 0, "most": 0, "unknown": ["a"]})
    assert format_duration(10_000) == "2.8 h"


def test_optimizer_steps_follow_the_arguments():
    assert optimizer_steps("sft", {"max_steps": 7}, None) == 7
    assert optimizer_steps("sft", {"num_train_epochs": 2}, 100) == 26
    assert optimizer_steps("sft", {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 5}, 100) == 15
    assert optimizer_steps("grpo", {}, 100) is None
    assert optimizer_steps("sft", {}, None) is None


@pytest.fixture
def recorded(monkeypatch):
    """A function that gives the records of finished stages, on a CPU, with the base model `tiny`."""
    from commands.planning import estimate

    params = {
        "base": {"model": "tiny", "revision": None},
        "steps": {"sft": {"method": "sft", "dataset": "chat", "args": {"max_steps": 50}}},
    }
    monkeypatch.setattr(estimate, "read_params", lambda: params)
    monkeypatch.setattr(estimate, "this_device", lambda: "cpu")

    def give(*records):
        monkeypatch.setattr(estimate, "stage_records", lambda: list(records))
        return estimate.estimate

    return give


def trained(seconds, **more):
    work = {
        "stage": "train@sft",
        "method": "sft",
        "dataset": "chat",
        "optimizer_steps": 100,
        "base": "tiny",
        "device": "cpu",
    }
    return work | {"seconds": seconds} | more


def test_time_is_that_of_the_same_base_on_the_same_device(recorded):
    others = (
        trained(1000.0, device="NVIDIA H200"),
        trained(2000.0, base="Qwen/Qwen3-4B@1234"),
        trained(3000.0, base=None, device=None),
    )
    assert recorded(trained(10.0), *others)("train@sft")["seconds"] == 5.0
    assert recorded(*others)("train@sft")["seconds"] is None


def test_time_of_a_score_too_and_that_of_data_stages_wherever_they_ran(recorded):
    records = (
        {"stage": "evaluate@sft", "seconds": 7.0, "base": "tiny", "device": "cpu"},
        {"stage": "ingest@chat", "seconds": 2.0},
    )
    estimate = recorded(*records, records[0] | {"seconds": 900.0, "device": "NVIDIA H200"})
    assert estimate("evaluate@sft")["seconds"] == 7.0 and estimate("ingest@chat")["seconds"] == 2.0


def test_what_never_ran_here_is_said_to_be_unknown():
    stages = [item("train@a", "runs", seconds=None, optimizer_steps=1200)]
    said = list(
        text_lines(
            {
                "stages": stages,
                "seconds": {"least": 0, "most": 0, "unknown": ["train@a"]},
                "not_in_cache": [],
                "left_behind": [],
            }
        )
    )
    assert said[4] == "           1,200 optimizer steps, time unknown"
