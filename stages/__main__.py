"""What DVC calls: `python -m stages STAGE [NAME]` runs `main` of `stages/STAGE.py`."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from stages._process import end_with_parent
from validators._problems import Problem, Problems, did_you_mean

STAGES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    stage: Annotated[str, typer.Argument(help="One of: " + ", ".join(STAGES))],
    name: Annotated[str | None, typer.Argument(help="The dataset or the step, where the stage is one of many.")] = None,
):
    """Run one stage of the graph, in the folder of dvc.yaml."""
    end_with_parent()
    try:
        if stage not in STAGES:
            raise Problems([Problem("python -m stages", f"no stage {stage!r}", "", did_you_mean(stage, STAGES))])
        main = importlib.import_module(f"stages.{stage}").main
        main(name) if name else main()
    except Problems as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    app()
