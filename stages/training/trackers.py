"""What a training reports to, beside its curve: TILTH_REPORT_TO=tensorboard, or several: trackio,wandb. Nothing without it.

It is a variable of the environment and no key of params.yaml: params.yaml says what is built, and a tracker changes nothing
of that. No stage depends on it, so that switching it on trains nothing again, and a colleague without it has the same build.
What a tracker writes is in `.work/_trackers/`, unless its own variables say otherwise; git and DVC look at neither.
"""

import importlib.util
import os
from pathlib import Path

from stages.training.types import Config
from validators.problems import Problem, did_you_mean

VARIABLE = "TILTH_REPORT_TO"
TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")  # each is the name of its package too
FOLDER = Path(".work/_trackers")  # no step has such a name


def trackers() -> list[str]:
    """The trackers that the environment asks for, by transformers' names."""
    given = os.environ.get(VARIABLE, "").replace(",", " ").split()
    return [name for name in dict.fromkeys(given) if name != "none"]


def tracker_problems() -> list[Problem]:
    """What is wrong with them: a name that is none, a package that is not installed."""
    problems = []
    for name in trackers():
        if name not in TRACKERS:
            problems.append(Problem(VARIABLE, f"no tracker {name!r}", "", did_you_mean(name, TRACKERS)))
        elif not importlib.util.find_spec(name):
            hint = f"pip install {name}, or unset {VARIABLE}"
            problems.append(Problem(VARIABLE, f"{name} is not installed", "", hint))
    return problems


def configure_trackers(config: Config, name: str) -> None:
    """Let TRL's config of the step `name` report to what the environment asks for; before the trainer is made."""
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
        # files of the model are DVC's: nothing of them goes to a tracker
        "WANDB_LOG_MODEL": "false",
        "HF_MLFLOW_LOG_ARTIFACTS": "FALSE",
    }.items():
        os.environ.setdefault(variable, value)
    config.report_to, config.run_name = wanted, config.run_name or name
    if config.project == "huggingface":  # transformers' default
        config.project = "tilth"
