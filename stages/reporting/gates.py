"""The verdicts of the gates, for the page, report.md and the cards.

gates.json -> {"ship": True, "summary": "ship: 1 of 1 gate passes", "rows": [{"step": "align", ..., "said": "passes: +0.537 (...)"}]}
"""

import json
from pathlib import Path
from typing import Any

from stages.scoring.gates import describe_gates, describe_result

PATH = Path("gates.json")


def gate_verdicts() -> dict[str, Any] | None:
    """{ship, summary, rows} of gates.json; None where it is not built or params.yaml has no gates."""
    if not PATH.exists():
        return None
    gates = json.loads(PATH.read_text(encoding="utf-8"))
    verdicts = [*gates["gates"].values()]
    if not verdicts:
        return None
    rows = [verdict | {"said": describe_result(verdict), "state": verdict_state(verdict)} for verdict in verdicts]
    return {"ship": gates["ship"], "summary": describe_gates(verdicts), "rows": rows}


def verdict_state(verdict: dict[str, Any]) -> str:
    if verdict["passes"]:
        return "passes"
    return "waived" if verdict["waived"] else "does not pass"


def gates_of_step(step: str) -> list[dict[str, Any]]:
    """The rows of one step."""
    verdicts = gate_verdicts()
    return [row for row in verdicts["rows"] if row["step"] == step] if verdicts else []
