"""The params that each stage reads, in a file of its own. An edit of params.yaml reruns only the stages that read the edited key.

params.yaml with its defaults -> .build/params/<stage>.json, .build/params/<stage>/<dataset or step>.json

    .build/params/curate/chat.json: {"seed": 7, "eval_fraction": 0.15, "curate": {...}, "datasets": {"chat": {"max_rows": null, ...}}}
"""

import json
import os
from pathlib import Path

from stages.core.params import PARAMS_FOLDER, Params


def params_by_stage(params: Params) -> dict[str, Params]:
    """{"curate/chat": the params that `curate chat` reads, in the shape of params.yaml, ...}. params: with all defaults.

    `train` has none: it reads what preflight writes for its step.
    """
    stages = {
        "engine": select_keys(params, "engine"),  # no stage depends on it: both engines write the same bytes
        "base": base_params(params),
        "collect": select_keys(params, *(f"datasets.{name}.kind" for name in params["datasets"])),
        "pin": select_keys(
            params, *(f"datasets.{name}.{key}" for name in params["datasets"] for key in ("kind", "raw", "eval"))
        ),
        "preflight": select_keys(
            params,
            "seed",
            "launch",
            "base.backend",
            "steps",
            "preflight",
            *(f"evaluate.{key}" for key in ("max_new_tokens", "max_thinking_tokens", "chat_template_kwargs")),
            *(f"datasets.{name}.reasoning" for name in params["datasets"]),
            *(f"difficulty.{name}.from" for name in params["difficulty"]),
        ),
        "judge": judge_params(params),
        "evaluate_base": select_keys(params, "seed", "evaluate", *scoring_keys(params)),
        "gate": select_keys(
            params,
            "gates",
            *(f"steps.{name}.from" for name in params["steps"]),
            *(f"datasets.{name}.kind" for name in params["datasets"]),
        ),
        "collect_scores": {"steps": list(params["steps"])},
        "report": select_keys(
            params, "seed", "eval_fraction", "license", "expires", "difficulty", "base", "datasets", "steps"
        ),
    }
    for name in params["datasets"]:
        entry = f"datasets.{name}"
        options = (
            f"{entry}.{key}"
            for key in (
                "exclude",
                "columns",
                "format",
                "system",
                "ground_truth_pattern",
                "reasoning",
                "ignore",
                "pairs",
                "margin",
                "slice_by",
            )
        )
        stages |= {
            f"ingest/{name}": select_keys(
                params, f"{entry}.kind", f"{entry}.raw", *options, f"{entry}.max_reject_share"
            ),
            f"validate/{name}": select_keys(params, f"{entry}.kind", f"{entry}.max_reject_share"),
            f"curate/{name}": select_keys(
                params,
                "seed",
                "eval_fraction",
                "curate",
                *(f"{entry}.{key}" for key in ("kind", "raw", "eval", "split_on", "weights", "max_rows")),
            ),
        }
        if name in params["expires"]:
            stages[f"expire/{name}"] = select_keys(params, f"expires.{name}")
            stages[f"curate/{name}"] |= select_keys(params, f"expires.{name}")
    for name in params["difficulty"]:
        rule = f"difficulty.{name}"
        # nothing is sampled without a step on the dataset. `difficulty` does not read `keep`: its samples fit any value of it
        steps = [f"steps.{step}.dataset" for step, entry in params["steps"].items() if entry["dataset"] == name]
        keys = (f"{rule}.{key}" for key in ("from", "samples", "by", "temperature", "max_new_tokens", "batch_size"))
        stages[f"difficulty/{name}"] = select_keys(params, "seed", *keys, *steps)
        stages[f"keep/{name}"] = select_keys(params, f"{rule}.keep", *steps)
    for name in params["steps"]:
        stages[f"evaluate/{name}"] = select_keys(
            params, "seed", "evaluate", f"steps.{name}.from", *scoring_keys(params)
        )
    return stages


def scoring_keys(params: Params) -> list[str]:
    """The keys of datasets that decide how their eval rows are scored."""
    return [*mask_keys(params), *metric_keys(params), *private_keys(params)]


def private_keys(params: Params) -> list[str]:
    """The keys `private` of the datasets that have it."""
    return [f"datasets.{name}.private" for name, entry in params["datasets"].items() if entry["private"]]


def mask_keys(params: Params) -> list[str]:
    """The keys `reasoning` of datasets with `mask`: their thoughts are not learned, so no model is scored on them."""
    return [f"datasets.{name}.reasoning" for name, entry in params["datasets"].items() if entry["reasoning"] == "mask"]


def metric_keys(params: Params) -> list[str]:
    """The keys `metrics` of the datasets that have any."""
    return [f"datasets.{name}.metrics" for name, entry in params["datasets"].items() if entry["metrics"]]


def base_params(params: Params) -> Params:
    """The params of stage `base`, with the text of the chat template, so that an edit of the template reruns the stage."""
    selected = select_keys(
        params, "base.model", "base.revision", "base.eos_token", "base.chat_template_kwargs", "base.date"
    )
    path = params["base"]["chat_template"]
    selected["base"]["chat_template"] = Path(path).read_text(encoding="utf-8") if path else None
    return selected


def judge_params(params: Params) -> Params:
    """The params of stage `judge`: the model to download, or for a judge on a server its address only."""
    entry = params["evaluate"]["judge"]
    if entry is None:
        return select_keys(params, "evaluate.judge")
    keys = ("server",) if entry["server"] else ("server", "model", "revision", "kind", "chat_template_kwargs")
    return select_keys(params, *(f"evaluate.judge.{key}" for key in keys))


def select_keys(params: Params, *keys: str) -> Params:
    """The part of the params under these dotted keys, in the same shape."""
    selected: Params = {}
    for key in keys:
        *parents, last = key.split(".")
        source, target = params, selected
        for name in parents:
            source, target = source[name], target.setdefault(name, {})
        target[last] = source[last]
    return selected


def texts_by_path(params: Params) -> dict[str, str]:
    """{path: text} of all files."""
    return {
        f"{PARAMS_FOLDER.as_posix()}/{name}.json": params_text(part) for name, part in params_by_stage(params).items()
    }


def params_text(params: Params) -> str:
    return json.dumps(params, indent=2, ensure_ascii=False) + "\n"


def write_stage_params(params: Params) -> None:
    """Write each file whose text has changed, atomically, and delete files of datasets and steps that no longer exist."""
    wanted = texts_by_path(params)
    for path in sorted(PARAMS_FOLDER.rglob("*")):
        if path.is_file() and path.as_posix() not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path = Path(path)
        if not path.is_file() or path.read_bytes() != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(text, encoding="utf-8", newline="\n")
            os.replace(partial, path)
