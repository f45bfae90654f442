"""The trackers that a training reports to: TILTH_REPORT_TO=tensorboard, or several, as in trackio,wandb. None by default.

This is an environment variable and not a key of params.yaml: params.yaml says what is built, and a tracker does not change
that. No stage depends on it, so turning it on trains nothing again, and a colleague without it gets the same build.
Trackers write to `.work/_trackers/`, unless their own variables say otherwise; git and DVC ignore it.
"""

import importlib.util
import os
from pathlib import Path

from stages.training.types import Config
from validators.problems import Problem, did_you_mean

VARIABLE = "TILTH_REPORT_TO"
TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")  # each is the name of its package too
FOLDER = Path(".work/_trackers")  # no step can have this name


def trackers() -> list[str]:
    """The trackers that the environment asks for, by transformers' names."""
    given = os.environ.get(VARIABLE, "").replace(",", " ").split()
    return [name for name in dict.fromkeys(given) if name != "none"]


def tracker_problems() -> list[Problem]:
    """Problems of the trackers: an unknown name, a package that is not installed."""
    problems = []
    for name in trackers():
        if name not in TRACKERS:
            problems.append(Problem(VARIABLE, f"unknown tracker {name!r}", "", did_you_mean(name, TRACKERS)))
        elif not importlib.util.find_spec(name):
            hint = f"pip install {name}, or unset {VARIABLE}"
            problems.append(Problem(VARIABLE, f"{name} is not installed", "", hint))
    return problems


def configure_trackers(config: Config, name: str) -> None:
    """Make TRL's config of the step `name` report to the trackers. Call it before the trainer is made."""
    if not (wanted := trackers()):
        return
    for tracker in wanted:
        FOLDER.joinpath(tracker).mkdir(parents=True, exist_ok=True)
    folder = FOLDER.resolve()
    for variable, value in {
        "TENSORBOARD_LOGGING_DIR": f"{folder}/tensorboard/{name}",
        "TRACKIO_DIR": f"{folder}/trackio",
        "WANDB_DIR": f"{folder}/wandb",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow/mlflow.db",
        "WANDB_PROJECT": "tilth",
        "MLFLOW_EXPERIMENT_NAME": "tilth",
        # DVC stores the model's files: none go to a tracker
        "WANDB_LOG_MODEL": "false",
        "HF_MLFLOW_LOG_ARTIFACTS": "FALSE",
    }.items():
        os.environ.setdefault(variable, value)
    config.report_to, config.run_name = wanted, config.run_name or name
    if config.project == "huggingface":  # transformers' default
        config.project = "tilth"
