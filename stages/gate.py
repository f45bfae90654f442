"""Judge each model by `gates` of params.yaml: ship, or do not ship, with the reasons.

.build/scores.json, scores/<step>.json, params -> gates.json

    {"ship": true, "gates": {"align, pair_accuracy of pairs: change above 0": {"passes": true, "found": "+0.537 (+0.495 to +0.578)", ...}}}

A gate never stops or hides a build. A gate that does not pass is shown here, on the page, in the cards and by `tilth gate`, which
exits with 1. A waived gate does not pass, and does not keep a model from shipping. `ship` is null where there are no gates.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.core.params import read_params
from stages.scoring.gates import GateResult, Scores, describe_gates, describe_result, judge_gates, ship

OUT = Path("gates.json")


def main() -> None:
    params = read_params("gate")
    results = judge_gates(params, read_scores(params["steps"]))
    OUT.write_text(gates_text(results), encoding="utf-8", newline="\n")
    for result in results:
        print(f"gate {result.name}: {describe_result(asdict(result))}")
    print(f"gate: {describe_gates([asdict(result) for result in results])}")


def gates_text(results: list[GateResult]) -> str:
    """gates.json: a mapping by name and not a list, as `dvc metrics` shows no lists."""
    content = {"ship": ship(results), "gates": {result.name: asdict(result) for result in results}}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_scores(steps: dict[str, Any]) -> dict[str, Scores]:
    """{step: {dataset: {metric: item}}} of the steps that have scores."""
    paths = {step: Path(f"scores/{step}.json") for step in steps}
    return {step: json.loads(path.read_text(encoding="utf-8")) for step, path in paths.items() if path.exists()}
