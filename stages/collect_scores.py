"""List the files of scores, and delete those of steps that params.yaml no longer has.

scores/ -> .build/scores.json

    {"base.json": "5f0e...", "base.parquet": "91ac...", "align.csv": "c27b..."}

The report depends on this list and not on the folder, where a stale file would make it run again in every clone. This stage
depends on the folder: a stale file makes it run, and it deletes the file.
"""

import json
from pathlib import Path

from stages.core.hashes import sha256
from stages.core.params import read_params

LIST = Path(".build/scores.json")


def main() -> None:
    models = {"base", *read_params("collect_scores")["steps"]}
    listed = {}
    for path in sorted(Path("scores").glob("*")):
        if path.name.split(".")[0] in models:
            listed[path.name] = sha256(path)
        else:
            print(f"collect_scores: {path} belongs to no step of params.yaml, deleted")
            path.unlink()
    LIST.parent.mkdir(exist_ok=True)
    LIST.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    print(f"collect_scores: {len(listed)} files")
