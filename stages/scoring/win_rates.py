"""How often a judge prefers a model's answers: to those of its parent model, or to the rows' own.

    pairs = pairs_to_judge("sft", params, asked, parts, parent)          # {"chat": [Pair(...)]}
    summaries(judge, "base", ids, pairs["chat"], verdicts, before, 7)
    -> ({"win_rate": {"value": 0.61, "low": 0.55, ..., "judge": ..., "against": "base", "flips": 40, "first": 31, ...}, ...}, {"win_rate": column})

A win counts 1, a tie 0.5; a row has a vote where the replies in both orders can be read. Against the parent model, the change is
taken from 0.5, the win rate of that model against itself. Against the rows' own answers it is a paired one, as for any metric.
"""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from stages.rows.types import Row
from stages.scoring import statistics
from stages.scoring.answers import EvalRows
from stages.scoring.judging import JudgeEntry, Outcome, Pair, outcome, parse_verdict
from stages.scoring.length_control import length_controlled
from stages.scoring.measurement_cache import Measurement, Part
from stages.scoring.own_metrics import metric_arguments
from stages.scoring.verdicts import Verdict, judge_label
from validators._answers import answer_of
from validators._judge import reason_not_judged

REFERENCE = "the rows' own answers"


def pairs_to_judge(
    name: str,
    params: dict[str, Any],
    asked: dict[str, EvalRows],
    parts: dict[Part, Measurement],
    parent: pa.Table | None,
) -> dict[str, list[Pair]]:
    """{dataset: pairs of answers to judge}, of the first `max_rows` rows by id. Prints why a dataset or row is not judged."""
    judge: JudgeEntry = params["evaluate"]["judge"]
    found: dict[str, list[Pair]] = {}
    if judge["against"] == "parent" and parent is None:
        print(f"evaluate {name}: no win rate: it started from no other model")
        return {}
    for dataset, each in asked.items():
        answers, private = parts.get((dataset, "answers")), params["datasets"].get(dataset, {}).get("private")
        why = reason_not_judged(params["evaluate"]["judge"], dataset, each.kind, answers is not None, bool(private))
        if why or answers is None:  # without answers there is a reason
            print(f"evaluate {name}: {dataset}: no win rate: {why}")
            continue
        rows = {row["id"]: row for row in each.rows}
        ours = dict(zip(answers.ids, answers.columns["generation"].to_pylist(), strict=True))
        arguments = metric_arguments(list(ours.values()), [rows[row] for row in ours], each.kind)
        theirs = (
            answers_in_scores(parent, dataset)
            if judge["against"] == "parent"
            else dict(zip(ours, arguments["ground_truth"], strict=True))
        )
        pairs = [
            Pair(row, prompt, answer_of(ours[row]), answer_of(theirs[row]), rows[row].get("tools"))
            for row, prompt in zip(ours, arguments["prompt"], strict=True)
            if theirs.get(row) is not None
        ][: judge["max_rows"]]
        if judge["against"] == "reference" and (empty := sum(not pair.theirs for pair in pairs)):
            print(f"evaluate {name}: {dataset}: {empty:,} rows are not judged: their own answers have no text")
        found[dataset] = [pair for pair in pairs if pair.theirs or judge["against"] == "parent"]
    return {dataset: pairs for dataset, pairs in found.items() if pairs}


def answers_in_scores(scores: pa.Table, dataset: str) -> dict[str, str]:
    """{id: answer} of a model, from its table of scores."""
    rows = scores.filter(pa.compute.equal(scores["dataset"], dataset))
    return (
        dict(zip(rows["id"].to_pylist(), rows["generation"].to_pylist(), strict=True))
        if "generation" in rows.column_names
        else {}
    )


def summaries(
    judge: JudgeEntry,
    parent: str | None,
    ids: list[str],
    pairs: list[Pair],
    verdicts: dict[str, list[Verdict]],
    before: pa.Table | None,
    seed: int,
) -> tuple[dict[str, statistics.Item], dict[str, pa.Array]]:
    """({metric: item}, {column: (rows,) values}) of one dataset. before: the scores of the parent model."""
    outcomes = {row: outcome(judge["kind"], [each.reply for each in two]) for row, two in verdicts.items()}
    wins = np.array(
        [np.nan if (judged := outcomes.get(row)) is None or judged.win is None else judged.win for row in ids], float
    )
    by_id = {pair.id: pair for pair in pairs}
    lengths = np.array([len(by_id[row].ours) - len(by_id[row].theirs) if row in by_id else 0 for row in ids], float)
    ours = estimators(wins, lengths)
    theirs: dict[str, statistics.Metric] = {}
    if judge["against"] == "parent":
        theirs = dict.fromkeys(ours, statistics.Metric(lambda weights: np.full(len(weights), 0.5)))
    elif before is not None and "win_rate" in before.column_names:
        before_lengths = [len(answer_of(text or "")) for text in before["generation"].to_pylist()]
        lengths = np.array(
            [own - len(by_id[row].theirs) if row in by_id else 0 for row, own in zip(ids, before_lengths, strict=True)],
            float,
        )
        theirs = estimators(before["win_rate"].to_numpy(zero_copy_only=False).astype(float), lengths)
    n = int((~np.isnan(wins)).sum())
    items = {
        metric: statistics.summary(value, theirs.get(metric), len(ids), seed)
        | statistics.drop_interval_if_few({"n": n}, n)
        for metric, value in ours.items()
    }
    against = parent if judge["against"] == "parent" else REFERENCE
    items["win_rate"] |= {"judge": judge_label(judge), "against": against} | outcome_counts(
        judge["kind"], outcomes, verdicts
    )
    return items, {"win_rate": pa.array(wins, pa.float64(), from_pandas=True)}


def estimators(wins: np.ndarray, lengths: np.ndarray) -> dict[str, statistics.Metric]:
    """{name: Metric}. wins: NaN where a row has no vote."""
    judged, counted = ~np.isnan(wins), np.nan_to_num(wins)
    return {
        "win_rate": statistics.ratio(counted, judged.astype(float)),
        "length_controlled_win_rate": length_controlled(counted, lengths, judged),
    }


def outcome_counts(kind: str, outcomes: dict[str, Outcome], verdicts: dict[str, list[Verdict]]) -> dict[str, Any]:
    """How many rows: ties, equal answers, verdicts that flip, and rows without a vote by reason."""
    found: dict[str, Any] = {
        "ties": sum(each.win == 0.5 and not each.flips for each in outcomes.values()),
        "equal": sum(not two for two in verdicts.values()),
    }
    if kind == "chat":
        found |= {
            "flips": sum(each.flips for each in outcomes.values()),
            "first": sum(each.first for each in outcomes.values()),
        }
    whys = Counter(each.why for each in outcomes.values() if each.why)
    return found | {"no_verdict": whys.total()} | ({"no_verdict_by": dict(sorted(whys.items()))} if whys else {})


def print_missing_verdicts(
    name: str, dataset: str, kind: str, rows: dict[str, Row], verdicts: dict[str, list[Verdict]], item: statistics.Item
) -> None:
    """Print how many rows have no verdict, and the first of them with the judge's reply, which shows what is wrong with the judge."""
    if not item["no_verdict"]:
        return
    by = ", ".join(f"{count:,} {why}" for why, count in item["no_verdict_by"].items())
    first = next(row for row, two in verdicts.items() if outcome(kind, [each.reply for each in two]).win is None)
    reply = next(each.reply for each in verdicts[first] if each.reply.why or parse_verdict(each.reply) is None)
    where, text = f"{rows[first]['source']}:{rows[first]['line']}", " ".join(reply.text.split())[-200:]
    some = f"{item['no_verdict']:,} of {len(verdicts):,} rows without a verdict of the judge ({by})"
    print(f"evaluate {name}: {dataset}: {some}; the first, {where}: {text!r}")
