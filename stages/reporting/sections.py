"""The page's sections about a dataset and a step, as plain data with charts; stages/reporting/templates/ has the words around it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stages.core.params import Params
from stages.reporting import curves, difficulty
from stages.reporting.charts import histogram
from stages.reporting.clips import clip
from stages.reporting.flow import flow
from stages.reporting.rights import rights_rows
from stages.reporting.rollouts import rollout_summary
from stages.reporting.summaries import SAMPLES, WIDTH, dataset_summary
from stages.reporting.tokens import samples_for_page
from stages.rows.rejects import describe_unused_keys
from stages.training.left_out_rows import DROPPED, UNSCORED, count_by_proof, read_left_out
from validators._cautions import Entry, step_cautions

Resolved = dict[str, Any]  # {step: preflight/<step>.json, None where it is not built}


def format_share(value: float) -> str:
    """A share as a percentage. A share that is more than zero never shows as 0."""
    return f"{value:.1%}" if value >= 0.001 or value == 0 else "<0.1%"


def dataset_section(name: str, params: Params, resolved: Resolved, findings: Entry | None) -> Entry:
    """A dataset's summary with its drawings and remarks.

    resolved: {step: its preflight, or None}. findings: preflight's, None where not written.
    """
    item = dataset_summary(name, params["datasets"][name])
    if item["missing"]:
        return item
    item["findings"] = [finding_row(found) for found in (findings or {}).get("_eval", {}).get(name, [])]
    item["total"] = item["train"] + item["eval"] + item["rejected"] + item["not_sampled"]
    reasons = [(reason["check"], reason["count"]) for reason in item["reasons"]]
    steps = [step for step, given in params["steps"].items() if given["dataset"] == name and resolved[step]]
    item["left_out"], item["unscored"] = left_out_counts(steps), left_out_reasons(read_left_out(UNSCORED, dataset=name))
    item["difficulty"] = difficulty.difficulty_section(name, params)
    # preflight has already left out the prompts that cannot be asked
    sorted_out = [
        (each["check"], each["count"])
        for each in (item["difficulty"] or {}).get("reasons", ())
        if each["check"] != "keep.not_asked"
    ]
    item["flow"] = flow(
        item["train"],
        item["eval"],
        reasons,
        [*item["left_out"], *sorted_out],
        unscored_reasons(item["unscored"]),
        item["not_sampled"],
    )
    bands = ", ".join(f"{band['name']} {band['count']:,}" for band in item["flow"]["bands"])
    item["flow_label"] = f"{item['records']:,} raw records of {item['name']}: {bands}"
    cut, limits = max_length_marks(item, params["steps"], resolved)
    item["rights"], item["waived"] = rights_rows(name, params), params["datasets"][name]["waive"]
    item["charts"], item["remarks"] = dataset_charts(item, cut), [*limits, *remarks(item)]
    return item


def left_out_counts(steps: Iterable[str]) -> list[tuple[str, int]]:
    """[(name, count)] of the train rows that preflight leaves out of some steps, the most frequent first. Each row counts once."""
    rows = {}
    for step in steps:
        for row in read_left_out(DROPPED, step=step):
            rows.setdefault((row["row"], row["id"]), []).append((step, row["proof"]))
    counts = Counter(
        f"{'/'.join(dict.fromkeys(proof for _, proof in why))}: not in {', '.join(step for step, _ in why)}"
        for why in rows.values()
    )
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def left_out_reasons(rows: list[Entry]) -> list[Entry]:
    """[{proof, count, samples: [{row, reason}]}] of rows that preflight leaves out, the most frequent first."""
    samples = {
        proof: [{"row": row["row"], "reason": clip(row["reason"], WIDTH)} for row in rows if row["proof"] == proof][
            :SAMPLES
        ]
        for proof in count_by_proof(rows)
    }
    return [
        {"proof": proof, "count": count, "samples": samples[proof]} for proof, count in count_by_proof(rows).items()
    ]


def unscored_reasons(reasons: list[Entry]) -> list[tuple[str, int]]:
    return [(f"{reason['proof']}: not scored", reason["count"]) for reason in reasons]


def max_length_marks(item: Entry, steps: Entry, resolved: Resolved) -> tuple[float | None, list[str]]:
    """(the place of the smallest max_length on the axis of characters, one sentence per step's limit)."""
    places, lines = [], []
    for name, step in steps.items():
        preflight = resolved[name] if step["dataset"] == item["name"] else None
        length = (preflight or {}).get("length")
        limit = curves.max_length(step, preflight)
        if not length or not limit:
            continue
        rate = length["p50"] / max(item["lengths"]["p50"], 1) if item["lengths"] else 0
        places += [limit / rate] if rate else []
        over = "no row is longer" if length["max"] <= limit else f"the longest row has {length['max']:,}"
        lines.append(
            f"{name} cuts at max_length {limit:,} tokens: {over}; the median is {length['p50']:,}, the 95th percentile "
            f"{length['p95']:,} tokens"
        )
    return min(places, default=None), lines


def dataset_charts(item: Entry, cut: float | None) -> list[Entry]:
    charts, row_lengths = [], item["lengths"]
    if row_lengths:
        bins = [entry | {"series": "rows"} for entry in row_lengths["bins"]]
        end = bins[-1]["high"]
        label = (
            f"Lengths of {item['name']}'s train rows in characters: median {row_lengths['p50']:,}, 95th percentile "
            f"{row_lengths['p95']:,}, longest {row_lengths['max']:,}"
        )
        note = f"median {row_lengths['p50']:,}, p95 {row_lengths['p95']:,}, max {row_lengths['max']:,} characters"
        if row_lengths["open"]:
            note += f"; the last bar has all from {bins[-1]['low']:,}"
        if cut is not None:
            note += "; dashed: max_length, roughly" if cut <= end else "; max_length is beyond the axis"
        svg = histogram(f"{item['name']}-lengths", bins, label, cut if cut is not None and cut <= end else None)
        charts.append({"title": "Row lengths in train", "legend": [], "note": note, "svg": Markup(svg)})
    if len(item["answers"]) == 2:
        bins = [
            entry | {"series": name}
            for name, entry in (
                (name, entry) for name, lengths in item["answers"] for entry in close_last_bin(lengths["bins"])
            )
        ]
        medians = ", ".join(f"{name} {lengths['p50']:,}" for name, lengths in item["answers"])
        label = f"Lengths of answers in {item['name']}: medians {medians} characters"
        charts.append(
            {
                "title": "Answer lengths",
                "legend": [name for name, _ in item["answers"]],
                "dashed": False,
                "note": f"medians: {medians} characters",
                "svg": Markup(histogram(f"{item['name']}-answers", bins, label)),
            }
        )
    return charts


def close_last_bin(bins: list[Entry]) -> list[Entry]:
    """Bins with an empty one at the end, where the line returns to zero."""
    return [*bins, {"low": bins[-1]["high"], "high": bins[-1]["high"], "count": 0}]


def remarks(item: Entry) -> list[str]:
    """Sentences about a dataset as a whole."""
    sentences = []
    duplicates = {
        reason["check"]: reason["count"]
        for reason in item["reasons"]
        if reason["check"].startswith(("curate.duplicate", "curate.near_duplicate"))
    }
    if duplicates:
        sentences.append(
            "duplicates removed: " + ", ".join(f"{count:,} by {check}" for check, count in duplicates.items())
        )
    sentences += [f"personal data: {text}" for text in personal_data_sentences(item["personal_data"])]
    sentences += describe_unused_keys(item["unused_keys"])
    if repeated := item["train"] - item["prompts"]:
        sentences.append(f"{repeated:,} train rows repeat the prompt of another")
    for side, counts in item.get("classes", {}).items():
        rows = counts["true"] + counts["false"]
        sentences.append(
            f"class balance of {side}: {counts['true']:,} true ({format_share(counts['true'] / (rows or 1))}), {counts['false']:,} false"
        )
    if bias := item.get("bias"):
        pairs = sum(bias.values()) or 1
        sentences.append(
            f"length bias: chosen is longer in {format_share(bias['longer'] / pairs)} of the pairs, shorter in "
            f"{format_share(bias['shorter'] / pairs)}, equally long in {format_share(bias['equal'] / pairs)}"
        )
    return sentences


def personal_data_sentences(counts: dict[str, dict[str, int]]) -> Iterator[str]:
    """Sentences about the personal data that curate found. counts: {"reject": {kind: rows}, "warn": {kind: rows}}, or empty."""
    words = {"reject": "rejected for", "warn": "let through, as `warn` says:"}
    for what, by_kind in counts.items():
        if by_kind:
            yield f"{words[what]} " + ", ".join(f"{kind} {count:,}" for kind, count in by_kind.items()) + " rows"
    if counts and not any(counts.values()):
        yield "looked for, and none found"


def step_section(
    name: str,
    params: Params,
    resolved: Entry | None,
    logged: list[dict[str, float]],
    exposure: Entry | None,
    findings: Entry | None,
    samples: Entry | None,
) -> Entry:
    """A step with its curves, the rows its training saw, the findings of preflight, and its waivers.

    findings, samples: those of all steps, None where not written.
    """
    step = params["steps"][name]
    return {
        "name": name,
        "method": step["method"],
        "from": step["from"],
        "dataset": step["dataset"],
        "settings": setting_rows(step),
        "trained": Path(f"scores/{name}.csv").exists(),
        "charts": curves.curve_charts(name, logged),
        "seen": exposure,
        "rollouts": rollout_summary(name),
        "preflight": curves.preflight_table(resolved) if resolved else None,
        "findings": None if findings is None else [finding_row(item) for item in findings.get(name, [])],
        "samples": samples_for_page((samples or {}).get(name, [])),
        "left_out": left_out_reasons(read_left_out(DROPPED, step=name)) if resolved else [],
        "cautions": step_cautions(name, step, params["steps"]),
    }


def setting_rows(step: Entry) -> list[tuple[str, Any]]:
    rows = [*step["args"].items(), *(step["lora"] or {}).items()]
    return rows + ([("rewards", ", ".join(step["rewards"]))] if step["rewards"] else [])


def finding_row(item: Entry) -> dict[str, str]:
    numbers = {key: "" if item.get(key) is None else format_number(item[key]) for key in ("value", "limit")}
    return {"check": item["check"], "level": item["level"], "message": item.get("message", ""), **numbers}


def format_number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
