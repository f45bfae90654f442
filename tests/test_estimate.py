import json

import pytest
from builds import write_params

from commands.planning import estimate as _estimate
from commands.planning.estimate import estimate

STEP = {"method": "dpo", "from": "base", "dataset": "pairs", "args": {"max_steps": 200}}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that puts down params, the last preflight, and the records of earlier runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".work").mkdir()
    (tmp_path / "preflight").mkdir()
    monkeypatch.setattr(_estimate, "this_device", lambda: "cpu")

    def put(steps, preflight=None, records=(), junk=""):
        write_params({"steps": steps})
        for name, report in (preflight or {}).items():
            (tmp_path / f"preflight/{name}.json").write_text(json.dumps(report), encoding="utf-8")
        lines = [json.dumps(record) for record in records]
        (tmp_path / ".work/times.jsonl").write_text("\n".join([*lines, junk]), encoding="utf-8")
        for remembered in (_estimate.stage_records, _estimate.read_params):
            remembered.cache_clear()

    yield put
    for remembered in (_estimate.stage_records, _estimate.read_params):
        remembered.cache_clear()


def trained(step, seconds, steps, method="dpo", base="tiny", device="cpu"):
    return {
        "stage": f"train@{step}",
        "seconds": seconds,
        "method": method,
        "dataset": "pairs",
        "optimizer_steps": steps,
        "base": base,
        "device": device,
    }


def test_the_last_record_of_a_stage_counts_and_lines_that_are_no_record_do_not(machine):
    machine({}, records=[{"stage": "base", "seconds": 9}, {"stage": "base", "seconds": 4}], junk='[1]\nnull\n{"stage"')
    assert estimate("base") == {"seconds": 4.0}
    assert estimate("collect") == {"seconds": None}


def test_a_training_takes_as_long_as_its_steps_by_the_last_training_of_its_method(machine):
    records = [trained("align", 10, 100), trained("align", 90, 50, method="kto")]
    machine({"align": STEP}, records=records)
    assert estimate("train@align") == {"seconds": 20.0, "optimizer_steps": 200, "tokens": None, "approximate": True}
    machine({"other": STEP}, records=records)
    assert estimate("train@other")["seconds"] == 20.0
    machine({"align": STEP}, records=[trained("align", 10, 100, base="big"), trained("align", 10, 100, device="cuda")])
    assert estimate("train@align")["seconds"] is None
    machine({"other": STEP | {"method": "orpo"}}, records=records)
    assert estimate("train@other")["seconds"] is None


def test_figures_are_those_of_preflight_where_it_speaks_of_the_same_arguments(machine):
    report = STEP | {"optimizer_steps": 200, "tokens": 5000, "trained_rows": 80}
    machine({"align": STEP}, {"align": report})
    assert estimate("train@align") == {"seconds": None, "optimizer_steps": 200, "tokens": 5000, "approximate": False}
    machine({"align": STEP | {"args": {"num_train_epochs": 2}}}, {"align": report})
    assert estimate("train@align") == {"seconds": None, "optimizer_steps": 20, "tokens": 5000, "approximate": True}
