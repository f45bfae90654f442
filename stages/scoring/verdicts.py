"""What a judge says of pairs of answers: what it said before is taken over, the rest is asked.

    judged("sft", judge, 16, {"chat": [Pair(...)]}) -> {"chat": {"9c1f...": [Verdict(key, Said("[[A]]")), Verdict(...)]}}

A verdict is found again by its key, the hash of what made it: the judge, and the question with the prompt and both answers. Keys stand
beside the verdicts in scores/<model>.parquet, which is looked for as what was measured is (`stages/scoring/measurement_cache.py`), and
in .work/judged/<model>.jsonl while a server is asked: so what it said is there after it dies, and a build is made again without it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stages.core.code_lists import code_hash
from stages.scoring import judge_server
from stages.scoring.judging import Pair, questions
from stages.scoring.local_judge import JUDGE_FOLDER, reward_replies
from stages.scoring.local_judge import chat_replies as verdicts_of_model
from stages.scoring.measurement_cache import Measurement, earlier_parts, hash_of, hash_of_model
from stages.scoring.replies import Reply

COLUMN = "judged"
COLUMN_TYPE = pa.list_(pa.struct([("key", pa.string()), ("said", pa.string()), ("why", pa.string())]))
WORK = Path(".work/judged")


@dataclass(frozen=True)
class Verdict:
    """What a judge said to one question. key: the hash of what made it."""

    key: str
    said: Reply


def judge_pairs(
    name: str, judge: dict, batch_size: int, pairs: dict[str, list[Pair]]
) -> dict[str, dict[str, list[Verdict]]]:
    """{dataset: {id: its two verdicts}}; [] of a pair of equal answers, which is not asked about. judge: of params.yaml."""
    asked = {
        dataset: {pair.id: questions(judge["kind"], pair) if pair.ours != pair.theirs else [] for pair in found}
        for dataset, found in pairs.items()
    }
    everything = [messages for rows in asked.values() for two in rows.values() for messages in two]
    who = hash_of(judge_identity(judge, batch_size, everything)) if everything else ""
    keys = {
        dataset: {row: [hash_of([who, messages]) for messages in two] for row, two in rows.items()}
        for dataset, rows in asked.items()
    }
    wanted = {
        key: messages
        for dataset, rows in keys.items()
        for row, two in rows.items()
        for key, messages in zip(two, asked[dataset][row], strict=True)
    }
    said = collect_replies(name, judge, batch_size, wanted)
    return {
        dataset: {row: [Verdict(key, said[key]) for key in two] for row, two in rows.items()}
        for dataset, rows in keys.items()
    }


def judge_identity(judge: dict, batch_size: int, everything: list) -> dict:
    """All that decides what a judge says to a question. everything: all questions of one run.

    What a language model says here may depend on what shares its batch, so it is asked all of it or nothing.
    """
    if judge["server"]:
        return {key: judge[key] for key in ("server", "model", "revision")} | {"sent": judge_server.request_body(judge)}
    here = {"files": hash_of_model(JUDGE_FOLDER), "kind": judge["kind"], "code": code_hash("measures/local_judge")}
    if judge["kind"] == "reward":
        return here
    return here | {"max_new_tokens": judge["max_new_tokens"], "batch_size": batch_size, "questions": everything}


def collect_replies(name: str, judge: dict, batch_size: int, wanted: dict[str, list]) -> dict[str, Reply]:
    """{key: what the judge said} of every question, of which only those are asked that it has not answered before."""
    known = earlier_replies(name, wanted)
    missing = {key: messages for key, messages in wanted.items() if key not in known}
    asked = f"{len(missing):,} are asked now" + (f" at {judge['server']}" if judge["server"] and missing else "")
    print(f"evaluate {name}: {len(known):,} verdicts of {judge_label(judge)} are kept from before, {asked}")
    if not missing:
        return known
    task = f"evaluate {name}: judge"
    if judge["server"]:
        WORK.mkdir(parents=True, exist_ok=True)
        with open(WORK / f"{name}.jsonl", "a", encoding="utf-8") as file:
            new = judge_server.ask_questions(judge, missing, reply_writer(file), task)
        judge_server.stop_if_all_refused(judge, known | new)
    elif judge["kind"] == "reward":
        new = dict(zip(missing, reward_replies(list(missing.values()), task), strict=True))
    else:
        new = dict(
            zip(
                missing,
                verdicts_of_model(list(missing.values()), batch_size, judge["max_new_tokens"], task),
                strict=True,
            )
        )
    return known | new


def judge_label(judge: dict) -> str:
    """A judge in words for scores, page and cards, which others read: without addresses and folders of this machine."""
    name = judge["model"] if judge["server"] or judge["revision"] else Path(judge["model"]).name
    return (
        name + (f"@{judge['revision'][:8]}" if judge["revision"] else "") + (" on a server" if judge["server"] else "")
    )


# -- what was said before -------------------------------------------------------------------------------------------


def reply_writer(file) -> Callable[[str, Reply], None]:
    def keep(key: str, said: Reply) -> None:
        file.write(json.dumps({"key": key, "said": said.text, "why": said.why}) + "\n")
        file.flush()

    return keep


def earlier_replies(name: str, wanted: dict[str, list]) -> dict[str, Reply]:
    """{key: Said} of the questions that were answered before, here or in a build that DVC's cache has."""
    found = {key: said for key, said in interrupted_replies(name).items() if key in wanted}
    if found.keys() == wanted.keys():
        return found
    for _, part in earlier_parts(name, lambda part: part["part"] == COLUMN):
        rows = [two for two in part.columns[COLUMN].to_pylist() if two]
        found |= {
            each["key"]: Reply(each["said"], each["why"]) for two in rows for each in two if each["key"] in wanted
        }
        if found.keys() == wanted.keys():
            break
    return found


def interrupted_replies(name: str) -> dict[str, Reply]:
    """{key: Said} of what a server said before it died. A line that was cut is asked again."""
    path, found = WORK / f"{name}.jsonl", {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            each = json.loads(line)
            found[each["key"]] = Reply(each["said"], each["why"])
        except (ValueError, LookupError, TypeError):
            continue
    return found


def delete_work_file(name: str) -> None:
    """Remove what was kept on the way: the scores have it."""
    (WORK / f"{name}.jsonl").unlink(missing_ok=True)


# -- for the file of scores -----------------------------------------------------------------------------------------


def as_measurement(ids: list, verdicts: dict[str, list[Verdict]]) -> Measurement:
    """The verdicts of a dataset as a part of the scores; null for the rows that are not judged."""
    cells = [
        [{"key": each.key, "said": each.said.text, "why": each.said.why} for each in verdicts[row]]
        if row in verdicts
        else None
        for row in ids
    ]
    return Measurement(ids, {COLUMN: pa.array(cells, COLUMN_TYPE)}, {})


def verdicts_fingerprint(found: Measurement) -> str:
    return hash_of([[each["key"] for each in two or ()] for two in found.columns[COLUMN].to_pylist()])
