"""How often an eval set was scored, as git's history tells: each score of a model on it counts once.

    looks(["chat", "lm_eval/arc_easy"]) -> {"chat": 4, "lm_eval/arc_easy": 2}; None where no dvc.lock is in git

dvc.lock of each commit has the hashes of the scores. Where the cache has a file of scores, what it says of the set is compared,
so that another dataset's change is no new score; where not, its hash counts. Scores of an earlier version of the set count too:
what was learned of it by looking does not go away with a few new rows.
"""

import json
import re

from commands.builds.build import object_of
from commands.builds.git import git
from commands.builds.lock import parse_yaml

SCORES_FILE = re.compile(r"scores/\w+\.json")


def count_scorings(datasets: list[str]) -> dict[str, int | None]:
    """{dataset: how many scores of a model on it there were}, in all commits behind this one and in the working tree."""
    if not datasets:
        return {}
    history = score_hashes()
    return {
        name: None if history is None else len({seen for md5 in history if (seen := scores_on_dataset(md5, name))})
        for name in datasets
    }


def score_hashes() -> set[str] | None:
    """The hashes of all files of scores that some dvc.lock has; None where git has no dvc.lock."""
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
    """The hashes of the files of scores in a dvc.lock; none where it does not parse, as in a merge."""
    try:
        stages = (parse_yaml(text) or {}).get("stages") or {}
        outs = [
            out for name, stage in stages.items() if name.startswith("evaluate@") for out in stage.get("outs") or ()
        ]
        return [str(out["md5"]) for out in outs if SCORES_FILE.fullmatch(out["path"]) and out.get("md5")]
    except (ValueError, AttributeError, TypeError, KeyError):
        return []


def scores_on_dataset(md5: str, dataset: str) -> str:
    """What a file of scores says of a dataset, "" where nothing; its hash where the cache does not have it."""
    try:
        found = json.loads(object_of(md5).read_text(encoding="utf-8"))
        return json.dumps(found[dataset], sort_keys=True) if dataset in found else ""
    except (OSError, ValueError, TypeError):
        return md5
