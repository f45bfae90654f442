"""What the gates said, for the page, report.md and the cards.

gates.json -> {"ship": True, "summary": "ship: 1 of 1 gate passes", "rows": [{"step": "align", ..., "said": "passes: +0.537 (...)"}]}
"""

import json
from pathlib import Path

from stages.scoring.gates import in_words, summary

PATH = Path("gates.json")


def judged() -> dict | None:
    """{ship, summary, rows} of gates.json; None where it is not built, or params.yaml has no gates."""
    if not PATH.exists():
        return None
    found = json.loads(PATH.read_text(encoding="utf-8"))
    verdicts = [*found["gates"].values()]
    if not verdicts:
        return None
    rows = [verdict | {"said": in_words(verdict), "state": state(verdict)} for verdict in verdicts]
    return {"ship": found["ship"], "summary": summary(verdicts), "rows": rows}


def state(verdict: dict) -> str:
    if verdict["passes"]:
        return "passes"
    return "waived" if verdict["waived"] else "does not pass"


def gates_of(step: str) -> list[dict]:
    """The rows of one step."""
    found = judged()
    return [row for row in found["rows"] if row["step"] == step] if found else []
