"""A score as text: its value, its interval, its change, and whether that is better.

format_score({"value": 0.399, "low": 0.36, "high": 0.435, "change": 0.399, "change_low": 0.36, "change_high": 0.435, "n": 664},
             "exact_match") -> {"value": "0.399", ..., "change": "+0.399", "verdict": "better"}
"""

from typing import Any

from stages.scoring.metric_direction import lower_is_better
from stages.scoring.statistics import describe_generated_briefly, describe_interval, describe_verdicts

Item = dict[str, Any]
NEARLY_ALL = 0.9  # of the answers: a model that says one thing to them is not better for it


def format_score(item: Item, metric: str) -> Item:
    """A score as text. `verdict` is `better` or `worse` only where the interval of the change excludes zero, and nothing speaks against it.

    moved: the change with its interval. said: the verdict in words, also where it is none.
    """
    score: Item = {key: format_value(item.get(key)) for key in ("value", "low", "high")}
    change, low, high = (item.get(key) for key in ("change", "change_low", "change_high"))
    score |= {"change": None if change is None else f"{change:+.3f}"}
    score |= {"change_low": format_change(low), "change_high": format_change(high)}
    score["moved"] = (
        score["change"] + ("" if low is None else f" ({low:+.3f} to {high:+.3f})") if score["change"] else None
    )
    score |= {
        "interval": describe_interval(item) or "–",
        "noted": describe_generated_briefly(item) or describe_verdicts(item),
    }
    verdict = None
    if change is not None and low is not None and high is not None and (low > 0 or high < 0):
        verdict = "better" if (change > 0) != lower_is_better(metric) else "worse"
    doubt = doubt_about(item) if verdict == "better" else ""
    unclear = "too few rows to say more" if low is None else "no clear change"
    return score | {"verdict": None if doubt else verdict, "said": doubt or verdict or unclear}


def doubt_about(item: Item) -> str:
    """Why a higher score does not show a better model, in words; "" where it does."""
    if (item.get("alike") or 0) >= NEARLY_ALL * (item.get("answers") or item["n"]):
        return "higher, but it says one thing to nearly all"
    low = item["value"] if item.get("low") is None else item["low"]
    if item.get("constant") is not None and low <= item["constant"]:
        return f"higher, but {'length alone' if 'constant_side' in item else 'one answer to all'} would do as well"
    return ""


def format_value(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def format_change(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
