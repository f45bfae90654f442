"""A judge's verdicts on pairs of answers: earlier verdicts are reused, and only new questions are asked.

    judge_pairs("sft", judge, 16, {"chat": [Pair(...)]}) -> {"chat": {"9c1f...": [Verdict(key, Reply("[[A]]")), Verdict(...)]}}

A verdict is found again by its key, the hash of all that decides it: the judge, and the question with the prompt and both answers.
The keys stand beside the verdicts in scores/<model>.parquet, which is found as measurements are (`stages/scoring/measurement_cache.py`).
While a server is asked, they also stand in .work/judged/<model>.jsonl: a dead server loses no reply, and a rebuild needs no server.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from stages.core.code_lists import code_hash
from stages.scoring import judge_server
from stages.scoring.judging import JudgeEntry, Pair, questions
from stages.scoring.local_judge import JUDGE_FOLDER, chat_replies, reward_replies
from stages.scoring.measurement_cache import Measurement, earlier_parts, hash_of, hash_of_model
from stages.scoring.replies import Reply

Messages = list[dict[str, Any]]
COLUMN = "judged"
COLUMN_TYPE = pa.list_(pa.struct([("key", pa.string()), ("said", pa.string()), ("why", pa.string())]))
WORK = Path(".work/judged")


@dataclass(frozen=True)
class Verdict:
    """A judge's reply to one question. key: the hash of all that decides it."""

    key: str
    reply: Reply


def judge_pairs(
    name: str, judge: JudgeEntry, batch_size: int, pairs: dict[str, list[Pair]]
) -> dict[str, dict[str, list[Verdict]]]:
    """{dataset: {id: its two verdicts}}; [] of a pair of equal answers, which no judge is asked about."""
    asked = {
        dataset: {pair.id: questions(judge["kind"], pair) if pair.ours != pair.theirs else [] for pair in of_dataset}
        for dataset, of_dataset in pairs.items()
    }
    everything = [messages for rows in asked.values() for two in rows.values() for messages in two]
    identity = hash_of(judge_identity(judge, batch_size, everything)) if everything else ""
    keys = {
        dataset: {row: [hash_of([identity, messages]) for messages in two] for row, two in rows.items()}
        for dataset, rows in asked.items()
    }
    messages_by_key = {
        key: messages
        for dataset, rows in keys.items()
        for row, two in rows.items()
        for key, messages in zip(two, asked[dataset][row], strict=True)
    }
    replies = collect_replies(name, judge, batch_size, messages_by_key)
    return {
        dataset: {row: [Verdict(key, replies[key]) for key in two] for row, two in rows.items()}
        for dataset, rows in keys.items()
    }


def judge_identity(judge: JudgeEntry, batch_size: int, everything: list[Messages]) -> dict[str, Any]:
    """All that decides a judge's replies, except the question. everything: all questions of one run.

    The reply of a language model on this machine may depend on the rest of its batch, so it is asked all questions or none.
    """
    if judge["server"]:
        return {key: judge[key] for key in ("server", "model", "revision")} | {"sent": judge_server.request_body(judge)}
    here = {"files": hash_of_model(JUDGE_FOLDER), "kind": judge["kind"], "code": code_hash("measures/local_judge")}
    if judge["kind"] == "reward":
        return here
    return here | {"max_new_tokens": judge["max_new_tokens"], "batch_size": batch_size, "questions": everything}


def collect_replies(
    name: str, judge: JudgeEntry, batch_size: int, messages_by_key: dict[str, Messages]
) -> dict[str, Reply]:
    """{key: Reply} of every question; asks only those that have no reply from before."""
    known = earlier_replies(name, messages_by_key)
    missing = {key: messages for key, messages in messages_by_key.items() if key not in known}
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
        replies = chat_replies(list(missing.values()), batch_size, judge["max_new_tokens"], task)
        new = dict(zip(missing, replies, strict=True))
    return known | new


def judge_label(judge: JudgeEntry) -> str:
    """A judge's name for scores, page and cards, which others read: without addresses and folders of this machine."""
    name = judge["model"] if judge["server"] or judge["revision"] else Path(judge["model"]).name
    return (
        name + (f"@{judge['revision'][:8]}" if judge["revision"] else "") + (" on a server" if judge["server"] else "")
    )


# -- earlier replies ------------------------------------------------------------------------------------------------


def reply_writer(file: TextIO) -> Callable[[str, Reply], None]:
    def keep(key: str, reply: Reply) -> None:
        file.write(json.dumps({"key": key, "said": reply.text, "why": reply.why}) + "\n")
        file.flush()

    return keep


def earlier_replies(name: str, messages_by_key: dict[str, Messages]) -> dict[str, Reply]:
    """{key: Reply} of the questions that were answered before, here or in a build in DVC's cache."""
    found = {key: reply for key, reply in interrupted_replies(name).items() if key in messages_by_key}
    if found.keys() == messages_by_key.keys():
        return found
    for _, part in earlier_parts(name, lambda part: part["part"] == COLUMN):
        rows = [two for two in part.columns[COLUMN].to_pylist() if two]
        found |= {
            each["key"]: Reply(each["said"], each["why"])
            for two in rows
            for each in two
            if each["key"] in messages_by_key
        }
        if found.keys() == messages_by_key.keys():
            break
    return found


def interrupted_replies(name: str) -> dict[str, Reply]:
    """{key: Reply} of what a server replied before it died. A line that is cut is skipped, and its question asked again."""
    path, found = WORK / f"{name}.jsonl", {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            each = json.loads(line)
            found[each["key"]] = Reply(each["said"], each["why"])
        except (ValueError, LookupError, TypeError):
            continue
    return found


def delete_work_file(name: str) -> None:
    """Delete the replies in .work/: the scores have them."""
    (WORK / f"{name}.jsonl").unlink(missing_ok=True)


# -- for the file of scores -----------------------------------------------------------------------------------------


def as_measurement(ids: list[str], verdicts: dict[str, list[Verdict]]) -> Measurement:
    """The verdicts of a dataset as a part of the scores; null for the rows that are not judged."""
    cells = [
        [{"key": each.key, "said": each.reply.text, "why": each.reply.why} for each in verdicts[row]]
        if row in verdicts
        else None
        for row in ids
    ]
    return Measurement(ids, {COLUMN: pa.array(cells, COLUMN_TYPE)}, {})


def verdicts_fingerprint(part: Measurement) -> str:
    return hash_of([[each["key"] for each in two or ()] for two in part.columns[COLUMN].to_pylist()])
