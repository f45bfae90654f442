"""Score the base model on every dataset's eval rows: every chain of steps is compared with it.

models/base/, judge/, data/eval.json, data/eval/ -> scores/base.json, scores/base.parquet (see `stages/evaluate.py`)
"""

from stages.core.params import read_params
from stages.evaluate import score


def main() -> None:
    score("base", read_params("evaluate_base"), None)
