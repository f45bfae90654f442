"""What a training reports to is asked for by the environment, and changes nothing of what is built."""

import importlib.util
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.training import trackers
from validators.problems import Problems


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The environment without trackers' variables; what a test sets in it is gone behind it."""
    monkeypatch.chdir(tmp_path)
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("WANDB", "MLFLOW", "TRACKIO", "TENSORBOARD", "TILTH_REPORT"))
    }
    monkeypatch.setattr(os, "environ", kept)
    return kept


def config(**given):
    return SimpleNamespace(**{"report_to": [], "run_name": None, "project": "huggingface"} | given)


def test_nothing_is_reported_unless_it_is_asked_for(environment):
    made = config()
    trackers.configure_trackers(made, "sft")
    assert made == config() and not Path(".work").exists() and not trackers.tracker_problems()


def test_what_is_asked_for_is_reported_to_below_work(environment):
    environment["TILTH_REPORT_TO"] = "tensorboard, wandb"
    made = config()
    trackers.configure_trackers(made, "sft")
    assert made == config(report_to=["tensorboard", "wandb"], run_name="sft", project="tilth")
    assert environment["TENSORBOARD_LOGGING_DIR"] == str(Path(".work/_trackers/tensorboard/sft").resolve())
    assert environment["WANDB_LOG_MODEL"] == "false"


def test_a_tracker_s_own_variables_and_args_are_obeyed(environment):
    environment.update(TILTH_REPORT_TO="mlflow", MLFLOW_TRACKING_URI="http://here:5000")
    made = config(run_name="mine", project="ours")
    trackers.configure_trackers(made, "sft")
    assert environment["MLFLOW_TRACKING_URI"] == "http://here:5000" and (made.run_name, made.project) == (
        "mine",
        "ours",
    )


def test_an_unknown_tracker_and_a_package_that_is_missing_are_named_at_once(environment, monkeypatch):
    environment["TILTH_REPORT_TO"] = "tensorbord,wandb"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [str(problem) for problem in trackers.tracker_problems()] == [
        "TILTH_REPORT_TO: unknown tracker 'tensorbord'\n  hint: did you mean 'tensorboard'?",
        "TILTH_REPORT_TO: wandb is not installed\n  hint: pip install wandb, or unset TILTH_REPORT_TO",
    ]


@pytest.fixture
def train(built, tmp_path, monkeypatch):
    """Train the step `align` of a built project anew; gives the bytes of all that it makes."""
    from stages import preflight
    from stages import train as stage

    project = built.copy(tmp_path / "p")
    monkeypatch.chdir(project.folder)
    preflight.main()

    def run():
        import shutil

        shutil.rmtree(".work/align", ignore_errors=True)
        stage.main("align")
        made = [*Path("models/align").rglob("*"), Path("scores/align.csv"), Path("scores/align.seen.parquet")]
        return {str(path): path.read_bytes() for path in made if path.is_file()}

    return run


@pytest.mark.slow
def test_a_missing_package_stops_a_step_before_it_trains(train, monkeypatch):
    monkeypatch.setenv("TILTH_REPORT_TO", "mlflow")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, find=importlib.util.find_spec: None if name == "mlflow" else find(name),
    )
    with pytest.raises(Problems, match="pip install mlflow"):
        train()


@pytest.mark.slow
def test_tensorboard_is_told_the_losses_and_no_byte_of_what_is_made_differs(train, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install tensorboard")
    before = train()
    monkeypatch.setenv("TILTH_REPORT_TO", "tensorboard")
    assert train() == before
    assert [path.suffix for path in Path(".work/_trackers/tensorboard/align").iterdir()]
    assert "tensorboard" not in json.dumps([text.decode(errors="replace") for text in before.values()])


@pytest.mark.slow
def test_a_tracker_s_callback_hears_of_the_training_and_no_byte_of_what_is_made_differs(train, monkeypatch):
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    heard = []

    class Fake(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            heard.append((args.run_name, state.global_step))

    before = train()
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Fake)
    monkeypatch.setattr(trackers, "tracker_problems", list)
    monkeypatch.setattr("stages.train.tracker_problems", list)
    assert train() == before and not heard
    monkeypatch.setenv("TILTH_REPORT_TO", "trackio")
    assert train() == before
    assert heard[0] == ("align", 1) or heard[0][0] == "align"
