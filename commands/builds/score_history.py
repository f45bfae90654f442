"""How often models were scored on an eval set, from git's history. Each score of a model counts once.

    count_scorings(["chat", "lm_eval/arc_easy"]) -> {"chat": 4, "lm_eval/arc_easy": 2}; None where no dvc.lock is in git

dvc.lock of each commit has the hashes of the files of scores. Where the cache has the file, its scores on the set are compared:
a change of another dataset is no new score. Where it does not, the hash counts. Scores on an earlier version of the set count
too: a few new rows do not undo what was learned from the old ones.
"""

import json
import re

from commands.builds.build import object_of
from commands.builds.git import git
from commands.builds.lock import parse_yaml

SCORES_FILE = re.compile(r"scores/\w+\.json")


def count_scorings(datasets: list[str]) -> dict[str, int | None]:
    """{dataset: how many scores models had on it}, in the history of this commit and in the working tree."""
    if not datasets:
        return {}
    history = score_hashes()
    return {
        name: None if history is None else len({scores for md5 in history if (scores := scores_on_dataset(md5, name))})
        for name in datasets
    }


def score_hashes() -> set[str] | None:
    """The hashes of all files of scores in any dvc.lock; None where git has no dvc.lock."""
    commits = (git("log", "--format=%H", "--", "dvc.lock") or b"").decode().split()
    texts = [git("show", f"{commit}:./dvc.lock") for commit in commits]
    if not commits:
        return None
    try:
        with open("dvc.lock", "rb") as file:
            texts.append(file.read())
    except OSError:
        pass
    return {md5 for text in set(texts) if text for md5 in score_hashes_in_lock(text.decode(errors="replace"))}


def score_hashes_in_lock(text: str) -> list[str]:
    """The hashes of the files of scores in a dvc.lock; empty where it does not parse, as in a merge."""
    try:
        stages = (parse_yaml(text) or {}).get("stages") or {}
        outs = [
            out for name, stage in stages.items() if name.startswith("evaluate@") for out in stage.get("outs") or ()
        ]
        return [str(out["md5"]) for out in outs if SCORES_FILE.fullmatch(out["path"]) and out.get("md5")]
    except (ValueError, AttributeError, TypeError, KeyError):
        return []


def scores_on_dataset(md5: str, dataset: str) -> str:
    """The scores on a dataset in a file of scores, as JSON, or ""; the file's hash where the cache does not have it."""
    try:
        found = json.loads(object_of(md5).read_text(encoding="utf-8"))
        return json.dumps(found[dataset], sort_keys=True) if dataset in found else ""
    except (OSError, ValueError, TypeError):
        return md5
