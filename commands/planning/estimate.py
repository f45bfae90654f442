"""The work of a stage: optimizer steps and tokens from preflight, seconds from the last run on this machine.

estimate("train@sft") -> {"seconds": 16.2, "optimizer_steps": 1368, "tokens": 99588, "approximate": False}

Seconds come from `.work/times.jsonl`, which `stages/__main__.py` writes; None where there is no record. For a stage that runs a model,
only records with the same base model on the same device count: a CPU's time says nothing about a GPU's.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

Estimate = dict[str, Any]
TimeRecord = dict[str, Any]  # a line of .work/times.jsonl


def estimate(stage: str) -> Estimate:
    """{seconds} of a stage; also {optimizer_steps, tokens, approximate} of `train`, {prompts, samples} of `difficulty`, {kept, of} of
    `keep`. None for what is unknown.
    """
    kind, _, name = stage.partition("@")
    if kind == "difficulty":
        rows = read_json_or_empty("data/train.json").get(name, {}).get("rows")
        return {
            "seconds": last_seconds(stage),
            "prompts": rows,
            "samples": read_params()["difficulty"][name]["samples"],
        }
    if kind == "keep":
        return {"seconds": last_seconds(stage)} | count_kept_prompts(name)
    if kind != "train":
        return {"seconds": last_seconds(stage)}
    work = steps_and_tokens(name)
    return {"seconds": training_seconds(name, work["optimizer_steps"]), **work}


@cache
def stage_records() -> list[TimeRecord]:
    """Every record of a finished stage, oldest first. Skips lines that are not records."""
    from stages.__main__ import TIMES

    records = []
    for line in TIMES.read_text(encoding="utf-8").splitlines() if TIMES.is_file() else ():
        try:
            record = json.loads(line)
            records.append({**record, "stage": str(record["stage"]), "seconds": float(record["seconds"])})
        except (ValueError, TypeError, KeyError):
            continue
    return records


def last_seconds(stage: str) -> float | None:
    return next(
        (
            record["seconds"]
            for record in reversed(stage_records())
            if record["stage"] == stage and is_comparable(record)
        ),
        None,
    )


def is_comparable(record: TimeRecord) -> bool:
    """True for a record of a stage that runs no model, or that ran with this base model on this device."""
    from stages.__main__ import MODEL_STAGES, base_label

    if record["stage"].partition("@")[0] not in MODEL_STAGES:
        return True
    return record.get("base") == base_label(read_params()["base"]) and record.get("device") == this_device()


@cache
def this_device() -> str:
    """The name of the device that trains. Called only where there is a record to compare: importing torch takes seconds."""
    from stages.training.backends import device_name

    return device_name()


def count_kept_prompts(name: str) -> Estimate:
    """{kept, of}: how many prompts `keep` will keep, by the last samples; {} where there are none, or the prompts changed since."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from stages.keep import sort_prompt
    from stages.scoring.sample_cache import OUT

    low, high = read_params()["difficulty"][name]["keep"]
    try:
        rows = pq.read_table(OUT / f"{name}.parquet", columns=["right", "left_out"]).to_pylist()
    except (OSError, pa.ArrowException):
        return {}
    if len(rows) != read_json_or_empty("data/train.json").get(name, {}).get("rows"):
        return {}
    return {"kept": sum(sort_prompt(row, low, high)["check"] is None for row in rows), "of": len(rows)}


def training_seconds(name: str, steps: int | None) -> float | None:
    """Seconds from the time of an optimizer step in the last training with this method and dataset; this step's own training comes first."""
    step = read_step(name)
    comparable = [
        record
        for record in stage_records()
        if record["stage"].startswith("train@") and record.get("optimizer_steps")
        if (record.get("method"), record.get("dataset")) == (step["method"], step["dataset"]) and is_comparable(record)
    ]
    comparable = [record for record in comparable if record["stage"] == f"train@{name}"] or comparable
    return comparable[-1]["seconds"] / comparable[-1]["optimizer_steps"] * steps if comparable and steps else None


@cache
def read_params() -> dict[str, Any]:
    from validators.params import fill_defaults, read_params_yaml

    return fill_defaults(read_params_yaml())


def read_step(name: str) -> dict[str, Any]:
    return read_params()["steps"][name]


def read_json_or_empty(path: str) -> dict[str, Any]:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def steps_and_tokens(name: str) -> Estimate:
    """{optimizer_steps, tokens, approximate} of a step: preflight's numbers where its args are the same, else by TRL's rule."""
    step, last = read_step(name), read_json_or_empty(f"preflight/{name}.json")
    args = step["args"]
    rows_are_alike = (last.get("method"), last.get("dataset")) == (step["method"], step["dataset"])
    tokens = last.get("tokens") if rows_are_alike else None
    if rows_are_alike and last.get("args") == args:
        sorts = step["dataset"] in read_params()["difficulty"]  # then preflight has also counted rows that are not kept
        return {"optimizer_steps": last.get("optimizer_steps"), "tokens": tokens, "approximate": sorts}
    rows = (
        last.get("trained_rows")
        if rows_are_alike
        else read_json_or_empty("data/train.json").get(step["dataset"], {}).get("rows")
    )
    return {"optimizer_steps": optimizer_steps(step["method"], args, rows), "tokens": tokens, "approximate": True}


def optimizer_steps(method: str, args: dict[str, Any], rows: int | None) -> int | None:
    """The optimizer steps of one process; None where only TRL can compute them."""
    if args.get("max_steps", 0) > 0:
        return args["max_steps"]
    if rows is None or method == "grpo":
        return None
    # the defaults are those of transformers' TrainingArguments
    batch = args.get("per_device_train_batch_size", 8) * args.get("gradient_accumulation_steps", 1)
    return math.ceil(math.ceil(rows / batch) * args.get("num_train_epochs", 3))
