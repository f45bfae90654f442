"""The report as one page: stages/reporting/templates/ filled from the files of a build. It makes no request and is the same bytes every time.

data/, preflight/, scores/, params -> report/index.html

A page of half a build names what is missing in its place. jinja2 escapes every text; charts are inline SVG. The policy in
the page's head blocks all loading and runs the page's own script alone.
"""

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from stages.core.params import Params
from stages.reporting import curves
from stages.reporting.clips import is_long, make_visible
from stages.reporting.flow import graph
from stages.reporting.gates import gate_verdicts
from stages.reporting.generations import side_by_side
from stages.reporting.headlines import headlines
from stages.reporting.scoreboard import board
from stages.reporting.sections import dataset_section, format_share, step_section
from stages.scoring.eval_settings import settings_sentences
from stages.scoring.metric_meanings import describe_metrics
from stages.training.exposure import exposure_path, exposure_summary

Section = dict[str, Any]
TEMPLATES = Path(__file__).parent / "templates"
ANSWERS, SHOWN_ANSWERS = 60, 3  # the others are folded
LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "duckdb",
    "pyarrow",
    "vl-convert-python",
    "jinja2",
    "dvc",
)


def render_page(params: Params) -> str:
    """The text of report/index.html."""
    scores = {model: read_json_or_none(f"scores/{model}.json") for model in ("base", *params["steps"])}
    resolved = {name: read_json_or_none(f"preflight/{name}.json") for name in params["steps"]}
    logged = {name: curves.read_curve(f"scores/{name}.csv") for name in params["steps"]}
    exposures = {name: exposure_summary(exposure_path(name)) for name in params["steps"]}
    findings, samples = read_json_or_none("preflight/_findings.json"), read_json_or_none("preflight/_xray.json")
    datasets = [dataset_section(name, params, resolved, findings) for name in params["datasets"]]
    steps = [
        step_section(name, params, resolved[name], logged[name], exposures[name], findings, samples)
        for name in params["steps"]
    ]
    answers, answerable = all_answers(params)
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    return (
        template_environment()
        .get_template("index.html.j2")
        .render(
            policy=security_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            base=params["base"],
            seed=params["seed"],
            facts=page_facts(datasets, scores),
            graph=graph(dataset_notes(datasets), step_notes(params["steps"])),
            datasets=datasets,
            steps=steps,
            answers=answers,
            shown_answers=SHOWN_ANSWERS,
            answerable=answerable,
            answer_datasets=list(dict.fromkeys(row["dataset"] for row in answers)),
            answer_models=list(dict.fromkeys(model for row in answers for model in row["said"])),
            unscored=[model for model, found in scores.items() if found is None],
            files=source_files(params["steps"]),
            gates=gate_verdicts(),
            asked=settings_sentences([model for model, found in scores.items() if found]),
            hashes=table_hashes(),
            versions=library_versions(),
            headlines=headlines(scores, params),
            meanings=describe_metrics(
                metric for found in scores.values() for items in (found or {}).values() for metric in items
            ),
            **board(scores, params["steps"], resolved, exposures),
        )
    )


def template_environment() -> jinja2.Environment:
    """jinja2 that escapes everything and raises an error for an unknown name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=make_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"share": format_share, "ending": ending}
    environment.tests["long"] = is_long  # ty: ignore[invalid-assignment]  # jinja2 annotates its own tests alone
    return environment


def security_policy(style: str, script: str) -> str:
    """A content security policy that loads nothing and allows this style and this script alone."""
    hashed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashed[0]}'; script-src 'sha256-{hashed[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def ending(text: str, width: int) -> str:
    """The end of a text that is too long: the end of a path says most."""
    return text if len(text) <= width else "…" + text[1 - width :]


def read_json_or_none(path: str) -> Any:
    """The content of a JSON file; None where it is not built yet."""
    return json.loads(Path(path).read_text(encoding="utf-8")) if Path(path).exists() else None


# -- the sections -------------------------------------------------------------------------------------------------


def page_facts(datasets: list[Section], scores: dict[str, Any]) -> list[tuple[str, str]]:
    built = [item for item in datasets if not item["missing"]]
    records: dict[str, int] = {}  # of each raw file; two datasets may read the same one
    for item in built:
        for file, count in item["records_of"].items():
            records[file] = max(count, records.get(file, 0))
    names = {"train": "train rows", "eval": "eval rows", "rejected": "rejected"}
    if any(item["not_sampled"] for item in built):
        names["not_sampled"] = "not sampled"
    counts = [(title, f"{sum(item[key] for item in built):,}") for key, title in names.items()]
    scored = f"{sum(found is not None for found in scores.values())} of {len(scores)}"
    return [("raw records", f"{sum(records.values()):,}"), *counts, ("models scored", scored)]


def dataset_notes(datasets: list[Section]) -> dict[str, dict[str, str]]:
    return {
        item["name"]: {
            "raw": item["raw"],
            "note": "not built yet" if item["missing"] else f"{item['train']:,} + {item['eval']:,} rows",
        }
        for item in datasets
    }


def step_notes(steps: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {**step, "note": f"{step['method']} on {step['dataset']}"} for name, step in steps.items()}


def all_answers(params: Params) -> tuple[list[dict[str, Any]], int]:
    """(rows with the answer of each model, the number of eval rows that have answers)."""
    rewards = read_json_or_none("preflight/_rewards.json") or {}
    functions = {name: {each: item["weight"] for each, item in found.items()} for name, found in rewards.items()}
    models, held_out = ["base", *params["steps"]], read_json_or_none("data/eval.json") or {}
    asking = {
        name: item for name, item in params["datasets"].items() if item["kind"] in ("sft", "grpo") or item["metrics"]
    }
    rows = [
        row
        for name, dataset in asking.items()
        for row in side_by_side(
            name, dataset["kind"], models, functions.get(name, {}), max(8, ANSWERS // len(asking)), dataset["metrics"]
        )
    ]
    rows.sort(key=lambda row: -row["spread"])
    return rows, sum(held_out.get(name, {}).get("rows", 0) for name in asking)


# -- lineage ------------------------------------------------------------------------------------------------------


def source_files(steps: Iterable[str]) -> list[dict[str, str]]:
    """[{path, md5}] of the small files that this page is made of, with the hashes of dvc.lock."""
    names = ["data/train.json", "data/eval.json", "scores/base.json"]
    names += [f"{folder}/{name}.json" for name in steps for folder in ("preflight", "scores")]
    names += ["gates.json"]
    return [
        {"path": name, "md5": hashlib.md5(Path(name).read_bytes(), usedforsecurity=False).hexdigest()}
        for name in names
        if Path(name).exists()
    ]


def table_hashes() -> list[dict[str, Any]]:
    sides = {side: read_json_or_none(f"data/{side}.json") or {} for side in ("train", "eval")}
    names = list(dict.fromkeys(name for listed in sides.values() for name in listed))
    return [
        {"name": name, "side": side, "rows": listed[name]["rows"], "sha256": listed[name]["sha256"]}
        for name in names
        for side, listed in sides.items()
        if name in listed
    ]


def library_versions() -> list[tuple[str, str]]:
    versions = []
    for library in LIBRARIES:
        try:
            versions.append((library, importlib.metadata.version(library)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
