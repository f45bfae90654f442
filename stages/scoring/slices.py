"""Scores of the slices of a dataset: of its raw files, and of the values of each key of its `slice_by`.

    slices_of(rows) -> [Slice("file", "data/raw/chat/a.jsonl", [0, 4, 5]), ..., Slice("lang", "de", [1, 5]), Slice("lang", None, [7])]

A slice is scored by the same functions as the whole. Of a key the MAX_SLICES largest slices are scored each by itself, the rows of all
other values together. Rows without a value are a slice too, so no row is left out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

from stages.rows.types import Row
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.statistics import Item

FILE, MAX_SLICES = "file", 20


@dataclass
class Slice:
    """Places of rows that share a value. value: None where they have none, or where `others` counts the values taken together."""

    by: str
    value: str | None
    rows: list[int]
    others: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        return {"by": self.by, "slice": self.value} | ({"others": self.others} if self.others else {})


def slices_of(rows: list[Row]) -> list[Slice]:
    """The slices of eval rows, key by key, the largest first. There are no slices by file where all rows are of one raw file."""
    files = slices_by_value(FILE, [row["source"] for row in rows])
    values = [json.loads(row["slices"]) if row.get("slices") else {} for row in rows]
    keys = dict.fromkeys(key for each in values for key in each)
    return (files if len(files) > 1 else []) + [
        part for key in keys for part in slices_by_value(key, [each.get(key) for each in values])
    ]


def slices_by_value(key: str, values: list[str | None]) -> list[Slice]:
    places: dict[str | None, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    without = [Slice(key, None, places.pop(None))] if None in places else []
    ordered = sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ordered) <= MAX_SLICES:
        return [Slice(key, *item) for item in ordered] + without
    rest = sorted(place for _, others in ordered[MAX_SLICES:] for place in others)
    return (
        [Slice(key, *item) for item in ordered[:MAX_SLICES]]
        + [Slice(key, None, rest, others=len(ordered) - MAX_SLICES)]
        + without
    )


def add_slices(report: dict[str, Item], slices: list[Slice], score: Callable[[list[int]], dict[str, Item]]) -> None:
    """Add its slices to each metric of a dataset, and mark the worst. score: {metric: item} of the rows at some places."""
    scored = [(part, score(part.rows)) for part in slices]
    for metric, item in report.items() if slices else ():
        items = [part.facts | metrics[metric] for part, metrics in scored if metric in metrics]
        if worst := worst_slice(items, item, lower_is_better(metric)):
            worst["worst"] = True
        item["slices"] = items


def worst_slice(slices: list[Item], whole: Item, lower: bool) -> Item | None:
    """The slice whose best value is clearly worse than the whole; of several, the one with the worst best value; None where there is none.

    The best value is the better end of an interval that is widened for all slices together (Bonferroni): of twenty slices, one lies
    outside its own 95% interval by chance. It is never narrower than the interval of as many rows of the whole: where all of 40 rows
    are wrong, their resamples are all alike. Slices without an interval (few rows), and the other values together, are not compared.
    """
    compared = [
        each for each in slices if each["low"] is not None and each["high"] is not None and "others" not in each
    ]
    if whole["low"] is None or whole["high"] is None or not compared:
        return None
    wide = NormalDist().inv_cdf(1 - 0.025 / len(compared)) / NormalDist().inv_cdf(0.975)
    sign = -1 if lower else 1

    def best_value(each: Item) -> float:
        reach, of_whole = (abs(item["low" if lower else "high"] - item["value"]) for item in (each, whole))
        return sign * each["value"] + wide * max(reach, of_whole * sqrt(whole["n"] / each["n"]))

    worst = min(compared, key=best_value)
    return worst if best_value(worst) < sign * whole["value"] else None


def describe_slice(each: Item) -> str:
    """`where lang is de`, `where there is no lang` or `in data/raw/a.jsonl`, of a slice in a file of scores."""
    if each["by"] == FILE:
        return f"in {each['slice']}"
    return f"where there is no {each['by']}" if each["slice"] is None else f"where {each['by']} is {each['slice']}"


def describe_worst_slice(metric: str, item: Item) -> str:
    """`exact_match is worst where lang is de: 0.120 [0.050, 0.200], n 60; of all rows 0.398`; "" where no slice is clearly worse."""
    worst = next((each for each in item.get("slices", ()) if each.get("worst")), None)
    if not worst:
        return ""
    ends = f"[{worst['low']:.3f}, {worst['high']:.3f}]"
    return f"{metric} is worst {describe_slice(worst)}: {worst['value']:.3f} {ends}, n {worst['n']:,}; of all rows {item['value']:.3f}"
