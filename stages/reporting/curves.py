"""The training curve and the preflight numbers of a step, for the page.

scores/<step>.csv, preflight/<step>.json -> charts and table cells

    read_curve("scores/sft.csv") -> [{"step": 10.0, "loss": 4.88, "grad_norm": 3.55, ...}, ...]
"""

import csv
import math
from pathlib import Path
from typing import Any, TypeGuard, cast

from markupsafe import Markup

from stages.reporting.charts import line_chart
from validators._trl_fields import trl_default

Point = tuple[float, float]
POINTS = 200
PANELS = [  # title, columns of the curve: two share a chart
    ("Loss", ["loss"]),
    ("Reward", ["reward"]),
    ("Spread of rewards in a group", ["reward_std"]),
    ("Rewards of the answers", ["rewards/chosen", "rewards/rejected"]),
    ("Reward margin", ["rewards/margins"]),
    ("Reward accuracy", ["rewards/accuracies"]),
    ("KL from the reference", ["kl"]),
    ("Log odds ratio", ["log_odds_ratio"]),
    ("Token accuracy", ["mean_token_accuracy"]),
    ("Length of completions, tokens", ["completions/mean_length"]),
    ("Learning rate", ["learning_rate"]),
    ("Gradient norm", ["grad_norm"]),
]
NUMBER_TITLES = {
    "rows": "rows",
    "trained_rows": "trained rows",
    "tokens": "tokens",
    "learned_tokens": "learned tokens",
    "optimizer_steps": "optimizer steps",
}
SHOWN_ELSEWHERE = {"seed"}  # the page has it elsewhere


def read_curve(path: str) -> list[dict[str, float]]:
    """The rows of a curve with their finite numbers; [] where the file is missing."""
    if not Path(path).exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {key: value for key, text in row.items() if (value := finite_number(text)) is not None}
            for row in csv.DictReader(file)
        ]


def finite_number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def curve_charts(name: str, rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    """[{title, legend, dashed, note, svg}]: the charts of a step's log."""
    charts = []
    for title, columns in PANELS:
        points = [
            {"x": x, "y": y, "series": column.rpartition("/")[2]}
            for column in columns
            for x, y in downsample([(row["step"], row[column]) for row in rows if column in row and "step" in row])
        ]
        if not points:
            continue
        series = list(dict.fromkeys(point["series"] for point in points))
        shown = {key: [point["y"] for point in points if point["series"] == key] for key in series}
        note = ", ".join(f"{values[0]:.4g} → {values[-1]:.4g}" for values in shown.values())
        label = f"{title} of {name} by optimizer step: " + "; ".join(
            f"{key} from {values[0]:.4g} to {values[-1]:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}"
            for key, values in shown.items()
        )
        ident = f"{name}-{columns[0].replace('/', '-')}"
        legend = series if len(series) > 1 else []
        charts.append(
            {
                "title": title,
                "legend": legend,
                "dashed": True,
                "note": note,
                "svg": Markup(line_chart(ident, points, label)),
            }
        )
    return charts


def downsample(points: list[Point]) -> list[Point]:
    """At most POINTS points, each the mean of neighbours. points: [(x, y)] in order."""
    size = math.ceil(len(points) / POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size or 1)]
    return [tuple(sum(values) / len(group) for values in zip(*group, strict=True)) for group in groups]


def preflight_table(resolved: dict[str, Any]) -> list[tuple[str, str]]:
    """[(name, value)]: the numbers that preflight computed for a step."""
    table = [(title, f"{resolved[key]:,}") for key, title in NUMBER_TITLES.items() if key in resolved]
    table += [(f"length {key}", f"{value:,}") for key, value in resolved.get("length", {}).items() if is_number(value)]
    others = {
        key: value
        for key, value in resolved.items()
        if key not in NUMBER_TITLES.keys() | SHOWN_ELSEWHERE and is_number(value)
    }
    return table + [(key.replace("_", " "), f"{value:,.6g}") for key, value in others.items()]


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def max_length(step: dict[str, Any], resolved: dict[str, Any] | None) -> int | None:
    """The length in tokens at which a step cuts its rows; None where it cuts none."""
    args = step.get("args") or {}
    if step["method"] == "grpo":
        return None
    if "max_length" in args:
        return args["max_length"]
    return (resolved or {}).get("max_length") or cast(int | None, trl_default(step["method"], "max_length"))
