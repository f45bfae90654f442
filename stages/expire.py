"""List the raw files of one dataset that may no longer be used: those whose day in `expires` has come.

.build/params/expire/<d>.json, the date -> .build/expired/<d>.json: {"data/raw/chat/a.jsonl": "2027-01-01"}

The graph has this stage for the datasets in `expires` only, and runs it in every build, as DVC does not know dates. Its output
changes only on a day when something expires, so `curate`, which depends on it, reruns on these days only. The day is that of
UTC; SOURCE_DATE_EPOCH (seconds) sets another, to rebuild an earlier state.
"""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path

from stages.core.params import read_params
from validators._by_file import ByFile, expired_patterns

FOLDER = Path(".build/expired")


def main(name: str) -> None:
    text = expired_text(read_params("expire", name)["expires"][name])
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8", newline="\n")
    for pattern, day in json.loads(text).items():
        print(f"  {name}: {pattern} expired on {day}")


def expired_text(rule: ByFile) -> str:
    """The JSON of a rule today. rule: a day for all files, or {pattern: day}."""
    return json.dumps(expired_patterns(rule, today()), indent=2, ensure_ascii=False) + "\n"


def today() -> date:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC).date() if epoch else datetime.now(UTC).date()
