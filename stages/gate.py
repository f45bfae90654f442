"""Judge each model by `gates` of params.yaml: ship, or do not ship, with the reasons.

.build/scores.json, scores/<step>.json, params -> gates.json

    {"ship": true, "gates": {"align, pair_accuracy of pairs: change above 0": {"passes": true, "found": "+0.537 (+0.495 to +0.578)", ...}}}

A build is never stopped or hidden by a gate: what does not pass is said here, on the page, in the cards and by `tilth gate`,
which ends with 1. A waived gate does not pass, and does not keep a model from shipping. `ship` is null where there are no gates.
"""

import json
from dataclasses import asdict
from pathlib import Path

from stages.core.params import read_params
from stages.scoring.gates import GateResult, describe_gates, describe_result, judge_gates, ship

OUT = Path("gates.json")


def main():
    params = read_params("gate")
    verdicts = judge_gates(params, read_scores(params["steps"]))
    OUT.write_text(gates_text(verdicts), encoding="utf-8", newline="\n")
    for verdict in verdicts:
        print(f"gate {verdict.name}: {describe_result(asdict(verdict))}")
    print(f"gate: {describe_gates([asdict(verdict) for verdict in verdicts])}")


def gates_text(verdicts: list[GateResult]) -> str:
    """gates.json: a mapping by name and no list, as `dvc metrics` shows no lists."""
    found = {"ship": ship(verdicts), "gates": {verdict.name: asdict(verdict) for verdict in verdicts}}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def read_scores(steps: dict) -> dict:
    """{step: {dataset: {metric: item}}} of the steps that are scored."""
    paths = {step: Path(f"scores/{step}.json") for step in steps}
    return {step: json.loads(path.read_text(encoding="utf-8")) for step, path in paths.items() if path.exists()}
