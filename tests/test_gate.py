"""The stage writes gates.json, and `tilth gate` ends with 1 where a model must not ship."""

import json
from pathlib import Path

import pytest
from builds import write_params

from commands import gate as command
from stages import gate as stage
from validators.problems import Problems

GAIN = {"step": "align", "on": "pairs", "metric": "pair_accuracy", "change_low": 0}
DATASETS = {"pairs": {"kind": "preference", "raw": "data/raw/pairs"}}
STEPS = {"align": {"method": "dpo", "from": "base", "dataset": "pairs"}}


def item(change_low):
    return {"value": 0.6, "low": 0.5, "high": 0.7, "n": 90, "change": 0.1, "change_low": change_low, "change_high": 0.2}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that gives params.yaml these gates, and the step a score; it builds gates.json."""
    monkeypatch.chdir(tmp_path)

    def make(*gates, change_low=0.05):
        write_params({"datasets": DATASETS, "steps": STEPS, "gates": list(gates)})
        Path("scores").mkdir(exist_ok=True)
        Path("scores/align.json").write_text(json.dumps({"pairs": {"pair_accuracy": item(change_low)}}))
        stage.main()

    return make


def run(as_json=False):
    """The exit code of `tilth gate`."""
    with pytest.raises(SystemExit) as end:
        command.main(as_json)
    return end.value.code


def test_a_model_that_may_ship_ends_with_0(project, capsys):
    project(GAIN)
    assert "gate: ship: 1 of 1 gate passes" in capsys.readouterr().out
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "align, pair_accuracy of pairs: change above 0 against base: passes: +0.100 (+0.050 to +0.200)",
        "  pairs: how often it was scored is unknown until dvc.lock is committed",
        "ship: 1 of 1 gate passes",
    ]


def test_a_model_that_must_not_ship_ends_with_1_and_the_stage_does_not(project, capsys):
    project(GAIN, change_low=-0.01)
    capsys.readouterr()
    assert run() == 1
    said = capsys.readouterr().out
    assert "does not pass: +0.100 (-0.010 to +0.200)" in said and said.endswith("do not ship: 0 of 1 gate passes\n")


def test_a_waiver_with_its_reason_ends_with_0(project, capsys):
    project(GAIN | {"waive": "the first of its kind"}, change_low=-0.01)
    assert run() == 0
    assert "waived (the first of its kind): +0.100" in capsys.readouterr().out


def test_without_gates_nothing_is_judged(project, capsys):
    project()
    assert json.loads(Path("gates.json").read_text()) == {"ship": None, "gates": {}}
    assert run() == 0 and "params.yaml has no gates: nothing is judged" in capsys.readouterr().out


@pytest.mark.parametrize("change_low, code", [(0.05, 0), (-0.05, 1)])
def test_json_has_all_of_it_and_ends_alike(project, capsys, change_low, code):
    project(GAIN, change_low=change_low)
    capsys.readouterr()
    assert run(as_json=True) == code
    found = json.loads(capsys.readouterr().out)
    assert found["ship"] == (code == 0) and found["scored"] == {"pairs": None}
    assert found["gates"]["align, pair_accuracy of pairs: change above 0 against base"]["passes"] == (code == 0)


def test_the_same_scores_give_the_same_bytes(project):
    project(GAIN)
    before = Path("gates.json").read_bytes()
    stage.main()
    assert Path("gates.json").read_bytes() == before


def test_what_is_not_built_or_out_of_date_is_no_verdict(project):
    project(GAIN)
    Path("scores/align.json").write_text(json.dumps({"pairs": {"pair_accuracy": item(-1)}}))
    with pytest.raises(Problems, match=r"out of date; expected what follows from params\.yaml and the scores"):
        command.main()
    Path("gates.json").write_text("<<<<<<< ours")
    with pytest.raises(Problems, match="is not what the stage gate wrote"):
        command.main()
    Path("gates.json").unlink()
    with pytest.raises(Problems, match="is not there; expected what the stage gate builds"):
        command.main()


def test_without_the_scores_gates_json_is_enough_unless_params_has_other_gates(project):
    project(GAIN)
    Path("scores/align.json").unlink()
    assert run() == 0
    write_params({"datasets": DATASETS, "steps": STEPS, "gates": [GAIN | {"waive": "why"}]})
    with pytest.raises(Problems, match=r"out of date; expected what follows from params\.yaml\n"):
        command.main()


def test_a_gate_on_what_does_not_exist_stops_with_a_hint(project):
    project(GAIN)
    write_params({"datasets": DATASETS, "steps": STEPS, "gates": [GAIN | {"on": "pears"}]})
    with pytest.raises(Problems, match="did you mean 'pairs'"):
        command.main()
