"""What DVC calls: `python -m stages STAGE [NAME]` runs `main` of `stages/STAGE.py`."""

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.core.dvc_state import close_state_folder
from stages.core.machine_errors import machine_problem
from stages.core.params import read_params
from stages.core.process import end_with_parent, retain_freed_memory
from validators.problems import Problem, Problems, did_you_mean

# their times depend on the base model and the device
MODEL_STAGES = ("preflight", "difficulty", "train", "evaluate", "evaluate_base")
DATA_STAGES = ("ingest", "validate", "curate")  # they read batches of the same size
STAGES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
TIMES = Path(".work/times.jsonl")  # for `tilth plan` alone: git and DVC ignore it, no stage reads it
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    stage: Annotated[str, typer.Argument(help="One of: " + ", ".join(STAGES))],
    name: Annotated[str | None, typer.Argument(help="The dataset or the step, where the stage is one of many.")] = None,
) -> None:
    """Run one stage of the graph, in the folder of dvc.yaml."""
    if stage in DATA_STAGES:
        retain_freed_memory()  # before a thread runs: a variable set while another thread reads one can crash the process
    end_with_parent()
    start = time.monotonic()
    try:
        if stage not in STAGES:
            raise Problems([Problem("python -m stages", f"no stage {stage!r}", "", did_you_mean(stage, STAGES))])
        close_state_folder()
        main = importlib.import_module(f"stages.{stage}").main
        done = main(name) if name else main()
    except Problems as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as error:
        if problem := machine_problem(" ".join([stage, *([name] if name else [])]), error):
            print(problem, file=sys.stderr)
            raise SystemExit(1) from None
        raise
    if done is False:
        return  # nothing was trained, so this is not the time of a training
    with contextlib.suppress(Exception):  # a log that cannot be written must not fail a finished stage
        record_time(stage, name, time.monotonic() - start)


def record_time(stage: str, name: str | None, seconds: float) -> None:
    """Add a stage's time to TIMES; with the base and device where they count, and the size of a training."""
    if os.environ.get("RANK", "0") != "0":
        return  # the processes of one `accelerate launch` are one training
    times = os.times()
    cpu = times.user + times.system + times.children_user + times.children_system
    record = {"stage": f"{stage}@{name}" if name else stage, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
    if stage in MODEL_STAGES:
        from stages.training.backends import device_name

        record |= {"base": base_label(read_params("base")["base"]), "device": device_name()}
    if stage == "train":
        step = json.loads(Path("preflight", f"{name}.json").read_text(encoding="utf-8"))
        record |= {key: step[key] for key in ("method", "dataset", "optimizer_steps")}
    TIMES.parent.mkdir(exist_ok=True)
    with open(TIMES, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def base_label(base: dict[str, Any]) -> str:
    """A base model's name in TIMES. base: `base` of the params."""
    return f"{base['model']}@{base['revision']}" if base["revision"] else base["model"]


if __name__ == "__main__":
    app()
