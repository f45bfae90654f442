"""Report what was built from what, and how good it is: as text, as a page and as cards.

data/, preflight/, scores/, params -> report/report.md, report/index.html, report/cards/ (see `stages/reporting/cards.py`)

It writes no times and no paths: they would differ between two builds of the same project.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.outcomes import NOT_SAMPLED, separate_not_sampled
from stages.core.params import Params, read_params
from stages.reporting import difficulty
from stages.reporting.cards import write_cards
from stages.reporting.curves import read_curve
from stages.reporting.gates import gate_verdicts
from stages.reporting.headlines import GENERATED_METRICS, headlines
from stages.reporting.page import read_json_or_none, render_page
from stages.reporting.rights import rights_rows
from stages.reporting.sections import personal_data_sentences
from stages.rows.rejects import describe_unused_keys, personal_data_counts, reject_counts, unused_key_counts
from stages.scoring.metric_direction import lower_is_better
from stages.scoring.metric_meanings import describe_metrics
from stages.scoring.slices import describe_worst_slice
from stages.scoring.statistics import describe_generated, describe_interval, describe_verdicts
from stages.training.curve_warnings import curve_warnings
from stages.training.exposure import exposure_path, exposure_summary
from stages.training.left_out_rows import count_by_proof, left_out_of_dataset
from validators._cautions import step_cautions

OUT = Path("report")
MOSTLY_CUT = 0.5  # of the answers


def main() -> None:
    params = read_params("report")
    difficulty.delete_outdated(params)
    text = "\n\n".join(
        [
            "# What was built",
            datasets_section(
                params["datasets"],
                read_json_or_none("data/train.json") or {},
                read_json_or_none("data/eval.json") or {},
            ),
            rejects_section(params),
            *rights_section(params),
            steps_section(params),
            scores_section(params["steps"]),
            *gates_section(),
            *summary_section(params),
        ]
    )
    OUT.mkdir(exist_ok=True)
    (OUT / "report.md").write_text(text + "\n", encoding="utf-8")
    write_cards(params)
    (OUT / "index.html").write_text(render_page(params), encoding="utf-8")
    print(text)
    last = next(reversed(params["steps"]), "MODEL")
    print(f"\ntilth report opens the page; tilth answers {last}: its answers; tilth lineage {last}: what it is made of")


def not_built_sentence(names: Sequence[str]) -> str:
    """A sentence about what is not built yet; "" where all is."""
    return f"\n\nNot built yet: {', '.join(names)}." if names else ""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; columns of numbers are aligned right."""
    if not rows:
        return "None."
    columns = zip(*rows, strict=True)
    ruler = ["--:" if all(str(cell).lstrip("-")[:1].isdigit() for cell in column) else "---" for column in columns]
    lines = [header, ruler, *rows]
    return "\n".join("| " + " | ".join(escape_cell(cell) for cell in line) + " |" for line in lines)


def escape_cell(cell: object) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def rejects_of_dataset(name: str) -> tuple[Counter[tuple[str, str]], int]:
    """({(stage, check): count}, rows not sampled) of one dataset; empty where it is not built."""
    path = Path(f"data/rejected/{name}.parquet")
    return separate_not_sampled(reject_counts(path)) if path.exists() else (Counter(), 0)


def datasets_section(datasets: Mapping[str, Any], train: Mapping[str, Any], held_out: Mapping[str, Any]) -> str:
    rows, missing = [], [name for name in datasets if name not in train or name not in held_out]
    for name, dataset in datasets.items():
        if name in missing:
            continue
        rejects, not_sampled = rejects_of_dataset(name)
        parts = train[name]["rows"], held_out[name]["rows"], rejects.total(), not_sampled
        rows.append(
            [name, dataset["kind"], f"{sum(parts):,}", *(f"{part:,}" for part in parts), train[name]["sha256"][:12]]
        )
    header = ["dataset", "kind", "records in", "train", "eval", "rejected", "not sampled", "sha256 of train"]
    one_split = len({tuple(dataset.get("split_on") or ()) for dataset in datasets.values()}) == 1 and len(rows) > 1
    note = (
        "\n\nThe split is by prompt: one that is held out of a dataset is held out of all of them." if one_split else ""
    )
    return "## Datasets\n\n" + markdown_table(header, rows) + note + not_built_sentence(missing)


def rejects_section(params: Params) -> str:
    rows, datasets, steps = [], params["datasets"], params["steps"]
    for name in datasets:
        for (stage, check), count in sorted(
            rejects_of_dataset(name)[0].items(), key=lambda item: (-item[1], item[0][1], item[0][0])
        ):
            rows.append([name, stage, f"`{check}`", f"{count:,}", f"`{first_record(name, check)}`"])
        for what, left_out in left_out_of_dataset(name, steps):
            for proof, count in count_by_proof(left_out).items():
                first = next(row["row"] for row in left_out if row["proof"] == proof)
                rows.append([name, f"preflight: {what}", f"`{proof}`", f"{count:,}", f"`{first}`"])
        for reason in difficulty.reasons_not_kept(difficulty.prompt_rows(name, params)):
            first = reason["samples"][0]
            rows.append(
                [name, "keep", f"`{reason['check']}`", f"{reason['count']:,}", f"`{first['source']}:{first['line']}`"]
            )
    notes = [
        f"- {name}: {not_sampled:,} rows not sampled, as `weights` and `max_rows` ask for (`{NOT_SAMPLED}`)"
        for name in datasets
        if (not_sampled := rejects_of_dataset(name)[1])
    ]
    notes += [
        f"- {name}: {escape_cell(text)}"
        for name in datasets
        if (path := Path(f"data/rejected/{name}.parquet")).exists()
        for text in [
            *(f"personal data: {sentence}" for sentence in personal_data_sentences(personal_data_counts(path))),
            *describe_unused_keys(unused_key_counts(path)),
        ]
    ]
    notes += [
        f"- {name}: {difficulty.kept_sentence(name, params, prompts)}"
        for name in datasets
        if (prompts := difficulty.prompt_rows(name, params))
    ]
    return "\n\n".join(
        filter(
            None,
            [
                "## Rejected, by reason",
                markdown_table(["dataset", "stage", "check", "rows", "the first"], rows) if rows else "Nothing.",
                "\n".join(notes),
            ],
        )
    )


def rights_section(params: Params) -> Iterator[str]:
    """The rights in the raw data; no section where params.yaml has none."""
    rows = [[name, files or "all", *rest] for name in params["datasets"] for files, *rest in rights_rows(name, params)]
    if not rows and not params["license"]:
        return
    model = f"Models: {params['license']}.\n\n" if params["license"] else ""
    waived = [
        f"- {name}: {what} waived: {why}"
        for name, dataset in params["datasets"].items()
        for what, why in dataset["waive"].items()
    ]
    table = markdown_table(["dataset", "raw files", "license", "source", "consent", "expires"], rows)
    yield f"## Rights\n\n{model}{table}" + ("\n\n" + "\n".join(waived) if waived else "")


def first_record(name: str, check: str) -> str:
    """`source:line` of the first record that a check rejected."""
    rows = pq.read_table(f"data/rejected/{name}.parquet", columns=["source", "line", "check"])
    row = rows.filter(pc.equal(rows["check"], check)).slice(0, 1).to_pylist()[0]
    return f"{row['source']}:{row['line']}"


def steps_section(params: Params) -> str:
    rows, missing, base = [], [], params["base"]
    for name in params["steps"]:
        if (step := read_json_or_none(f"preflight/{name}.json")) is None:
            missing.append(name)
            continue
        exposure = exposure_summary(exposure_path(name))
        args = ", ".join(f"{key} {value}" for key, value in step["args"].items())
        rows.append(
            [
                name,
                step["method"],
                step["from"],
                step["dataset"],
                f"{exposure['seen']:,} of {exposure['rows']:,}" if exposure else "not trained",
                f"{step['optimizer_steps']:,}",
                "LoRA" if step["lora"] else "full",
                args,
            ]
        )
    text = (
        f"## Steps\n\nBase model: `{base['model']}`"
        + (f" at `{base['revision']}`" if base["revision"] else "")
        + f", seed {params['seed']}.\n\n"
    )
    text += markdown_table(
        ["step", "method", "from", "dataset", "rows seen", "optimizer steps", "weights", "args"], rows
    )
    text += not_built_sentence(missing)
    warnings = [
        caution for name, step in params["steps"].items() for caution in step_cautions(name, step, params["steps"])
    ]
    if warnings:
        text += "\n\n" + "\n".join(
            f"- {w.step}: {w.message}" + (f" (waived: {w.waived})" if w.waived is not None else "") for w in warnings
        )
    return text


def read_scores(steps: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """({model: its scores}, the models that have none yet)."""
    files = {model: read_json_or_none(f"scores/{model}.json") for model in ["base", *steps]}
    found = {model: content for model, content in files.items() if content is not None}
    return found, [model for model in files if model not in found]


def scores_section(steps: Iterable[str]) -> str:
    scores, missing = read_scores(steps)
    metrics = {metric for datasets in scores.values() for items in datasets.values() for metric in items}
    meanings = describe_metrics(metrics)
    generated = "" if metrics.isdisjoint(GENERATED_METRICS) else " Answers are greedy, one to a prompt."
    parts = [
        "## Scores\n\nEach value with its 95% interval; in brackets the change against the model that the step started from, "
        "with its interval: **bold** where that excludes zero."
        + generated
        + (f" Here {meanings}." if meanings else "")
        + not_built_sentence(missing)
    ]
    for dataset in dict.fromkeys(name for datasets in scores.values() for name in datasets):
        models = {model: datasets[dataset] for model, datasets in scores.items() if dataset in datasets}
        metrics = list(dict.fromkeys(metric for items in models.values() for metric in items))
        if metrics:
            n = max(item.get("n") or 0 for items in models.values() for item in items.values())
            rows = [
                [model, *(score_cell(items[metric]) if metric in items else "" for metric in metrics)]
                for model, items in models.items()
            ]
            parts.append(
                f"### {dataset} ({n:,} eval rows)\n\n"
                + markdown_table(
                    [
                        "model",
                        *(f"{metric} (lower is better)" if lower_is_better(metric) else metric for metric in metrics),
                    ],
                    rows,
                )
            )
            worst = [
                (model, describe_worst_slice(metric, item))
                for model, items in models.items()
                for metric, item in items.items()
            ]
            if lines := [f"- {model}: {escape_cell(text)}" for model, text in worst if text]:
                parts.append("\n".join(lines))
    return "\n\n".join(parts)


def gates_section() -> Iterator[str]:
    """The gates and their verdicts; no section where params.yaml has no gates."""
    if verdicts := gate_verdicts():
        rows = [[row["step"], f"{row['metric']} of {row['on']}", row["rule"], row["said"]] for row in verdicts["rows"]]
        yield f"## Gates\n\n{verdicts['summary']}.\n\n" + markdown_table(["step", "score", "must be", "verdict"], rows)


def summary_section(params: Params) -> Iterator[str]:
    """Each step's score by its own metric, the gist of all tables; no section where none is scored."""
    steps = params["steps"]
    scores, _ = read_scores(steps)
    lines, lines_of = [], {line["step"]: line for line in headlines(scores, params)}
    for name, step in steps.items():
        if line := lines_of.get(name):
            lines += describe_headline(line)
        if unended := describe_unended((scores.get(name) or {}).get(step["dataset"], {})):
            lines.append(f"- {name}: {unended}; tilth answers {name} shows them")
        seen = exposure_summary(exposure_path(name))
        if seen and seen["seen"] < seen["rows"]:
            lines.append(
                f"- {name}: it was trained on {seen['seen']:,} of {seen['rows']:,} rows; `max_steps` or `num_train_epochs` decides"
            )
        # the rollouts that are kept are a part of them: the curve is of all groups
        curve = read_curve(f"scores/{name}.csv")
        lines += [f"- {name}: {text}" for text in curve_warnings(step["method"], step["args"], curve)]
    if lines:
        yield "## In short\n\n" + "\n".join(lines)


def describe_unended(metrics: Mapping[str, Any]) -> str:
    """That most answers of a model are cut, with what to do; "" where they are not. metrics: {metric: item} of its own dataset."""
    cut, answers = max(
        ((item.get("cut") or 0, item.get("answers") or item["n"]) for item in metrics.values()), default=(0, 1)
    )
    if cut <= MOSTLY_CUT * answers:
        return ""
    return (
        f"{cut:,} of {answers:,} of its answers do not end within evaluate.max_new_tokens: a longer training, a base that "
        "answers, or more tokens"
    )


def describe_headline(line: Mapping[str, Any]) -> list[str]:
    """A step's headline as lines: what was trained and its score, then how that compares with its parent and with the base."""
    score = line["score"]
    text = f"- {line['step']} ({line['method']} on {line['dataset']}): {line['metric']} {score['value']} {score['interval']}"
    text += "".join(f" ({note})" for note in (score["noted"], line["why"]) if note)
    compared = [
        "; ".join([f"  - against {each['model']}: {each['said']}, {each['moved']}", *each["others"]])
        for each in line["against"]
    ]
    return [escape_cell(each) for each in [text, *compared]]


def score_cell(item: Mapping[str, Any]) -> str:
    if item["value"] is None:  # an AUC of one class
        return "none"
    text = " ".join(filter(None, (f"{item['value']:.3f}", describe_interval(item))))
    if item["change"] is not None:
        clear = item["change_low"] is not None and (item["change_low"] > 0 or item["change_high"] < 0)
        change = f"**{item['change']:+.3f}**" if clear else f"{item['change']:+.3f}"
        ends = "" if item["change_low"] is None else f", {item['change_low']:+.3f} to {item['change_high']:+.3f}"
        text += f" ({change}{ends})"
    return "; ".join(filter(None, (text, describe_generated(item) or describe_verdicts(item))))
