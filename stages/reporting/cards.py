"""Model cards and dataset cards for the Hugging Face Hub: metadata in YAML, then the account in words.

data/train.json, data/eval.json, data/rejected/, preflight/, scores/ (.seen.parquet of each step too), models/base/README.md, params
    -> report/cards/<step>.md, report/cards/datasets/<dataset>.md

An unknown license or language is left out, never guessed. Only what is built completely has a card.
"""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.outcomes import NOT_SAMPLED, separate_not_sampled
from stages.core.params import Params
from stages.reporting import difficulty
from stages.reporting.gates import gates_of_step
from stages.reporting.rights import rights_rows
from stages.rows.rejects import reject_counts
from stages.rows.tables import safe_text
from stages.scoring import statistics
from stages.scoring.eval_settings import describe_settings, recorded_settings
from stages.scoring.slices import describe_worst_slice
from stages.training.exposure import exposure_path, exposure_summary
from stages.training.left_out_rows import count_by_proof, left_out_of_dataset
from validators._by_file import RIGHTS_KEYS, values_of
from validators._cautions import Entry, ancestry, step_cautions
from validators._rights import is_listed

if TYPE_CHECKING:
    from huggingface_hub import CardData, DatasetCardData, ModelCardData

Built = dict[str, dict[str, Entry]]  # {"train" or "eval": {dataset: its entry in data/<side>.json}}
Scores = dict[str, dict[str, Entry]]  # {dataset: {metric: its values}}, as in scores/<model>.json
OUT = Path("report/cards")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SIZES = [(10**n, name) for n, name in ((3, "n<1K"), (4, "1K<n<10K"), (5, "10K<n<100K"), (6, "100K<n<1M"))]
SIZES += [(10**n, name) for n, name in ((7, "1M<n<10M"), (8, "10M<n<100M"), (9, "100M<n<1B"), (10, "1B<n<10B"))]
LICENSE_KEYS = ("license", "license_name", "license_link")


def write_cards(params: Params) -> None:
    """Write the card of every dataset and step that is built. Deletes the cards of names that no longer exist."""
    shutil.rmtree(OUT, ignore_errors=True)
    built = {"train": read_json_or_empty("data/train.json"), "eval": read_json_or_empty("data/eval.json")}
    for name in params["datasets"]:
        if name in built["train"] and name in built["eval"]:
            write_card(OUT / "datasets" / f"{name}.md", *dataset_card(name, params, built))
    for name in params["steps"]:
        chain = ancestry(name, params["steps"])[::-1]
        needed = ["data/train.json", "data/eval.json", f"scores/{name}.json"]
        needed += [f"preflight/{step}.json" for step in chain[1:]]
        if all(Path(path).exists() for path in needed):
            write_card(OUT / f"{name}.md", *model_card(name, chain[1:], params, built))


def write_card(path: Path, data: "CardData", body: str) -> None:
    """Write a card. data: its metadata. body: Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{data.to_yaml()}\n---\n\n{body}\n", encoding="utf-8")


def read_json_or_empty(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8")) if Path(path).exists() else {}


# -- models -------------------------------------------------------------------------------------------------------


def model_card(name: str, chain: list[str], params: Params, built: Built) -> tuple["ModelCardData", str]:
    """(metadata, Markdown) of a step's model. chain: the steps from the one on base to this one."""
    steps = [read_json_or_empty(f"preflight/{step}.json") for step in chain]
    scores, license = (
        read_json_or_empty(f"scores/{name}.json"),
        hub_license([params["license"]]) or base_license(params["base"]),
    )
    datasets = list(dict.fromkeys(step["dataset"] for step in steps))
    sections = [
        f"# {name}",
        f"`{name}` is a causal language model: {describe_base(params['base'])}, trained in {len(chain)} "
        f"{'step' if len(chain) == 1 else 'steps'} ({', '.join(f'`{step}`' for step in chain)}).",
        "## How it was trained\n\n" + chain_table(steps, params["seed"]),
        "## What it was trained on\n\n" + datasets_table(datasets, params, built),
        rejects_section(datasets, {step["step"]: step for step in steps}, params),
        cautions_section(chain, params["steps"]),
        scores_section(scores, steps[-1]["from"], describe_settings(recorded_settings(name))),
        gates_section(name),
        rights_section(license, datasets, params),
        rebuild_section(name, f"evaluate@{name}"),
    ]
    return model_data(name, params["base"], steps, datasets, scores, license, built), "\n\n".join(
        filter(None, sections)
    )


def model_data(
    name: str, base: Entry, steps: list[Entry], datasets: list[str], scores: Scores, license: Entry, built: Built
) -> "ModelCardData":
    from huggingface_hub import EvalResult, ModelCardData

    lora = any(step["lora"] for step in steps)
    results = [
        EvalResult(
            task_type="text-generation", task_name="Text generation",
            dataset_type=dataset, dataset_name=dataset, dataset_split="eval",
            dataset_args={"sha256": built["eval"][dataset]["sha256"]} if dataset in built["eval"] else None,
            metric_type=metric, metric_name=metric, metric_value=item["value"],
        )
        for dataset, metric, item in scored_metrics(scores)
    ]  # fmt: skip
    return ModelCardData(
        base_model=base["model"] if is_hub_id(base["model"], base["revision"]) else None,
        datasets=datasets,
        eval_results=results or None,
        library_name="peft" if steps[-1]["lora"] else "transformers",
        metrics=list(dict.fromkeys(metric for _, metric, _ in scored_metrics(scores))) or None,
        model_name=name,
        pipeline_tag="text-generation",
        tags=["tilth", "trl", *(step["method"] for step in steps), *(["lora"] if lora else [])],
        **license,
    )


def is_hub_id(model: str, revision: str | None) -> bool:
    """True for a model of the Hub: it has a revision. A folder has none, even one on another machine."""
    is_path = revision is None or model.startswith(".") or model.endswith(".gguf") or Path(model).is_dir()
    return bool(HUB_ID.fullmatch(model)) and not is_path


def describe_base(base: Entry) -> str:
    """The base model in words."""
    if base["model"] == "tiny":
        return "Tilth's tiny Qwen3, made with random weights"
    revision = f" at revision `{escape_code(base['revision'])}`" if base["revision"] else ""
    return f"{escape_markdown(base['model'])}{revision}"


def hub_license(licenses: Iterable[str | None]) -> Entry:
    """{license, license_name} as in the Hub's metadata: lower-case, one or a list; `other` where no list has the license."""
    known = list(dict.fromkeys(license for license in licenses if license))
    names = list(dict.fromkeys(license.lower() if is_listed(license) else "other" for license in known))
    if not names:
        return {}
    alone = {"license_name": known[0]} if names == ["other"] and len(known) == 1 and known[0].lower() != "other" else {}
    return {"license": names[0] if len(names) == 1 else names} | alone


def base_license(base: Entry) -> Entry:
    """{license, license_name, license_link} from params.yaml, or else from the base model's own card; empty where unknown."""
    if base["license"]:
        return hub_license([base["license"]])
    readme = Path("models/base/README.md")
    if not readme.exists():
        return {}
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    block = REGEX_YAML_BLOCK.search(readme.read_text(encoding="utf-8", errors="replace"))
    try:
        data = yaml.safe_load(block.group(2)) if block else None
    except yaml.YAMLError:
        return {}
    metadata = data if isinstance(data, dict) and data.get("license") else {}
    return {key: metadata[key] for key in LICENSE_KEYS if isinstance(metadata.get(key), (str, list))}


def chain_table(steps: list[Entry], seed: int) -> str:
    rows = [
        [
            f"`{step['step']}`", step["method"], f"`{step['from']}`", f"`{step['dataset']}`",
            rows_seen(step), f"{step['optimizer_steps']:,}",
            "LoRA: " + settings_text(step["lora"]) if step["lora"] else "full", settings_text(step["args"]),
        ]
        for step in steps
    ]  # fmt: skip
    header = ["step", "method", "from", "dataset", "rows seen", "optimizer steps", "weights", "args of TRL"]
    tail = f"Seed {seed}. `made_of.json` beside the weights has the versions of the libraries."
    return f"{markdown_table(header, rows)}\n\n{tail}"


def rows_seen(step: Entry) -> str:
    """How many rows of train the step's training saw, by its own record."""
    summary = exposure_summary(exposure_path(step["step"]))
    return f"{summary['seen']:,} of {summary['rows']:,}" if summary else f"unknown, of {step['rows']:,}"


def settings_text(values: Entry | None) -> str:
    return ", ".join(f"{escape_markdown(key)} {escape_markdown(value)}" for key, value in (values or {}).items())


def cautions_section(chain: list[str], steps: dict[str, Entry]) -> str:
    """The settings outside the usual range, with the reason of each waiver."""
    cautions = [caution for name in chain for caution in step_cautions(name, steps[name], steps)]
    lines = [
        f"- `{c.step}`: {escape_markdown(c.message)}"
        + (f" (waived: {escape_markdown(c.waived)})" if c.waived is not None else "")
        for c in cautions
    ]
    return "## Warnings and waivers\n\n" + ("\n".join(lines) if lines else "None.")


def scored_metrics(scores: Scores) -> list[tuple[str, str, Entry]]:
    """(dataset, metric, its values) of each metric that has a value."""
    return [
        (dataset, metric, item)
        for dataset, metrics in scores.items()
        for metric, item in metrics.items()
        if isinstance(item, dict) and item.get("value") is not None
    ]


def scores_section(scores: Scores, parent: str, settings: str) -> str:
    rows = [
        [
            f"`{dataset}`",
            escape_markdown(metric),
            f"{item['n']:,}",
            format_value(item),
            format_interval(item),
            format_change(item),
        ]
        for dataset, metric, item in scored_metrics(scores)
    ]
    header = ["dataset", "metric", "eval rows", "value", "95% interval", f"change from {parent}"]
    intro = "On held-out rows, with bootstrap intervals." + (
        f" Asked with {escape_markdown(settings)}." if settings else ""
    )
    worst = [
        f"- `{dataset}`: {escape_markdown(words)}"
        for dataset, metric, item in scored_metrics(scores)
        if (words := describe_worst_slice(metric, item))
    ]
    slices = "\n\nIts worst slices:\n\n" + "\n".join(worst) if worst else ""
    return f"## Scores\n\n{intro}\n\n{markdown_table(header, rows)}{slices}" if rows else ""


def gates_section(name: str) -> str:
    """The gates of a model and their verdicts; "" where it has no gate."""
    rows = [
        [escape_markdown(f"{row['metric']} of {row['on']}"), escape_markdown(row["rule"]), escape_markdown(row["said"])]
        for row in gates_of_step(name)
    ]
    return "## Gates\n\n" + markdown_table(["score", "must be", "verdict"], rows) if rows else ""


def format_interval(item: Entry) -> str:
    low, high = item.get("low"), item.get("high")
    return statistics.describe_interval(item) if low is None or high is None else f"{low:.3f} to {high:.3f}"


def format_value(item: Entry) -> str:
    cut = statistics.describe_generated(item)
    noted = cut or escape_markdown(statistics.describe_verdicts(item))
    return f"{item['value']:.3f}" + (f" ({noted})" if noted else "")


def format_change(item: Entry) -> str:
    if item.get("change") is None:
        return ""
    ends = [item.get(key) for key in ("change_low", "change_high")]
    interval = "" if None in ends else f" ({ends[0]:.3f} to {ends[1]:.3f})"
    return f"{item['change']:+.3f}{interval}"


# -- datasets -----------------------------------------------------------------------------------------------------


def dataset_card(name: str, params: Params, built: Built) -> tuple["DatasetCardData", str]:
    """(metadata, Markdown) of a dataset."""
    from huggingface_hub import DatasetCardData

    dataset = params["datasets"][name]
    rows = built["train"][name]["rows"] + built["eval"][name]["rows"]
    data = DatasetCardData(
        **hub_license(values_of(dataset["license"])),
        pretty_name=name,
        size_categories=[size_category(rows)],
        task_categories=["text-generation"],
        tags=["tilth", "trl", dataset["kind"]],
    )
    trained = [f"`{step}`" for step, given in params["steps"].items() if given["dataset"] == name]
    sections = [
        f"# {name}",
        f"Rows of kind {dataset['kind']}, with TRL's columns, made from `{escape_code(dataset['raw'])}`. "
        + (f"Steps that train on it: {', '.join(trained)}." if trained else "No step trains on it."),
        "## Rows\n\n" + datasets_table([name], params, built),
        f"All rows of a prompt are on one side. A share of {params['eval_fraction']} is held out, with seed {params['seed']}.",
        rejects_section([name], params["steps"], params),
        rights_section({}, [name], params),
        rebuild_section(name, f"curate@{name}"),
    ]
    return data, "\n\n".join(sections)


def size_category(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "10B<n<100B")


def datasets_table(names: Iterable[str], params: Params, built: Built) -> str:
    rows = []
    for name in names:
        train, held_out = built["train"][name], built["eval"][name]
        rejected, not_sampled = separate_not_sampled(reject_counts(f"data/rejected/{name}.parquet"))
        numbers = [f"{n:,}" for n in (train["rows"], held_out["rows"], rejected.total(), not_sampled)]
        rows.append([f"`{name}`", train["kind"], *numbers, f"`{train['sha256']}`", f"`{held_out['sha256']}`"])
    header = ["dataset", "kind", "train", "eval", "rejected", "not sampled", "sha256 of train", "sha256 of eval"]
    return markdown_table(header, rows)


def rejects_section(names: list[str], steps: dict[str, Entry], params: Params) -> str:
    """The rejects of some datasets by check, and the rows that preflight leaves out by proof. steps: {name: step}."""
    rows = [
        [f"`{name}`", stage, f"`{escape_code(check)}`", f"{count:,}"]
        for name in names
        for (stage, check), count in sorted(
            separate_not_sampled(reject_counts(f"data/rejected/{name}.parquet"))[0].items(),
            key=lambda item: (-item[1], item[0]),
        )
    ]
    rows += [
        [f"`{name}`", f"preflight: {what}", f"`{proof}`", f"{count:,}"]
        for name in names
        for what, left in left_out_of_dataset(name, steps)
        for proof, count in count_by_proof(left).items()
    ]
    sorted_out = {name: prompts for name in names if (prompts := difficulty.prompt_rows(name, params))}
    rows += [
        [f"`{name}`", "keep", f"`{reason['check']}`", f"{reason['count']:,}"]
        for name, prompts in sorted_out.items()
        for reason in difficulty.reasons_not_kept(prompts)
    ]
    reasons = markdown_table(["dataset", "stage", "check", "rows"], rows) if rows else "None."
    notes = [
        f"Of `{name}`, {count:,} rows were not sampled, as `weights` and `max_rows` ask for (`{NOT_SAMPLED}`)."
        for name in names
        if (count := separate_not_sampled(reject_counts(f"data/rejected/{name}.parquet"))[1])
    ]
    notes += [
        f"Of `{name}`, {escape_markdown(difficulty.kept_sentence(name, params, prompts))}."
        for name, prompts in sorted_out.items()
    ]
    return "\n\n".join([f"## Rejected records, by reason\n\n{reasons}", *notes])


def rights_section(license: Entry, datasets: Iterable[str], params: Params) -> str:
    """Licenses, sources, consent and waivers; "" where none is known. license: the model's, empty for a dataset card."""
    base, lines = params["base"], []
    if license:
        terms = (
            ", ".join(license["license"])
            if isinstance(license["license"], list)
            else license.get("license_name", license["license"])
        )
        lines.append(f"{'this model' if params['license'] else 'base model'}: {escape_markdown(terms)}")
    if license and params["license"] and (of_base := base_license(base)):
        lines.append(f"base model: {escape_markdown(of_base['license'])}")
    lines += [
        f"license {escape_markdown(what)} of the base model, waived: {escape_markdown(why)}"
        for what, why in base["waive"].items()
        if license
    ]
    rows = []
    for name in datasets:
        rows += [
            [f"`{name}`", f"`{escape_code(files)}`" if files else "all", *map(escape_markdown, said)]
            for files, *said in rights_rows(name, params)
        ]
        lines += [
            f"`{name}`: {escape_markdown(what)} waived: {escape_markdown(why)}"
            for what, why in params["datasets"][name]["waive"].items()
        ]
    parts = ["\n".join(f"- {text}" for text in lines)] if lines else []
    parts += [markdown_table(["dataset", "raw files", *RIGHTS_KEYS, "expires"], rows)] if rows else []
    return "\n\n".join(["## Licenses", *parts]) if parts else ""


def rebuild_section(name: str, target: str) -> str:
    commands = {
        f"dvc repro {target}": "builds what is missing",
        f"tilth lineage {name}": "prints every hash, from the raw files on",
        "tilth verify": "checks the bytes of every file",
    }
    width = max(map(len, commands))
    lines = "\n".join(f"$ {command:{width}}    # {what}" for command, what in commands.items())
    where = f"In the repository of the build, at the commit where `tilth lineage {name}` prints these hashes:"
    return f"## How to rebuild it\n\n{where}\n\n```console\n{lines}\n```"


# -- Markdown -----------------------------------------------------------------------------------------------------


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table. Cells are Markdown already; bars in them are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def escape_code(text: object) -> str:
    """A text that can stand inside backquotes."""
    return safe_text(str(text), 200).replace("`", "'")


def escape_markdown(text: object) -> str:
    """A text as one line that Markdown shows as it is. `markdown_table` escapes bars."""
    return re.sub(r"([\\`*\[\]<>#~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", safe_text(str(text), 200))
