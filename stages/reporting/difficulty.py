"""The report's part about `difficulty`: how often a model answered each prompt correctly, and which prompts are trained on.

data/kept/<d>/rows.parquet, params -> a dict of plain data with a chart; sentences and table rows for the text
"""

import shutil
from collections import Counter
from typing import Any

from markupsafe import Markup

from stages.core.params import Params
from stages.reporting.charts import bar_chart
from stages.training import kept_prompts

SAMPLES = 3


def delete_outdated(params: Params) -> None:
    """Delete the kept prompts of datasets that no longer exist or no longer have a `difficulty` rule."""
    for folder in sorted(kept_prompts.FOLDER.glob("*")):
        if folder.name not in params["datasets"]:
            shutil.rmtree(folder)
        elif folder.name not in params["difficulty"]:
            kept_prompts.delete_kept(folder.name)


def prompt_rows(name: str, params: Params) -> list[dict[str, Any]]:
    """One row per train prompt of a dataset with a `difficulty` rule; [] where it has none or is not built."""
    path = kept_prompts.kept_path(name)
    return kept_prompts.read_rows(path) if name in params["difficulty"] and path.exists() else []


def reasons_not_kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """[{check, count, samples: [{source, line, detail}]}] of the prompts that are not kept, the most frequent first."""
    counts = Counter(row["check"] for row in rows if row["check"])
    return [
        {"check": check, "count": count, "samples": [row for row in rows if row["check"] == check][:SAMPLES]}
        for check, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def kept_sentence(name: str, params: Params, rows: list[dict[str, Any]]) -> str:
    """How many prompts are kept, by which model and bounds."""
    rule, count = params["difficulty"][name], sum(row["check"] is None for row in rows)
    low, high = rule["keep"]
    return (
        f"{count:,} of {len(rows):,} train prompts are kept: those that {rule['from']} answers rightly in "
        f"{low:.0%} to {high:.0%} of {rule['samples']} samples, by {rule['by']}"
    )


def difficulty_section(name: str, params: Params) -> dict[str, Any] | None:
    """{said, chart, reasons} of a dataset for the page; None where it has no `difficulty` rule, {said: None} where it is not built."""
    if name not in params["difficulty"]:
        return None
    rows = prompt_rows(name, params)
    if not rows:
        return {"said": None}
    samples = params["difficulty"][name]["samples"]
    counts_by_right = Counter(
        (round(samples * row["right"] / row["judged"]), row["check"] is None) for row in rows if row["judged"]
    )
    bins = [
        {"low": right - 0.45, "high": right + 0.45, "count": count, "series": "kept" if is_kept else "not kept"}
        for (right, is_kept), count in sorted(counts_by_right.items())
    ]
    text, counts = (
        kept_sentence(name, params, rows),
        ", ".join(f"{right}: {count:,}" for (right, _), count in sorted(counts_by_right.items())),
    )
    chart = {
        "title": "Right answers to a prompt",
        "legend": ["kept", "not kept"],
        "dashed": False,
        "note": f"{params['difficulty'][name]['by']}, of {samples} samples",
        "svg": Markup(
            bar_chart(
                f"{name}-difficulty",
                bins,
                f"Prompts by right answers of {samples}: {counts}",
                f"right answers of {samples}",
            )
        ),
    }
    return {"said": text, "chart": chart, "reasons": reasons_not_kept(rows)}
