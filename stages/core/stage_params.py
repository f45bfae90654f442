"""What each stage reads of the params: a file of its own, so that an edit reruns the stages that read what was edited.

params.yaml with its defaults -> .build/params/<stage>.json, .build/params/<stage>/<dataset or step>.json

    .build/params/curate/chat.json: {"seed": 7, "eval_fraction": 0.15, "curate": {...}, "datasets": {"chat": {"max_rows": null, ...}}}
"""

import json
import os
from pathlib import Path

from stages.core.params import PARAMS_FOLDER, Params


def params_by_stage(params: Params) -> dict[str, Params]:
    """{"curate/chat": what `curate chat` reads, shaped as params.yaml is, ...}. params: with every default filled in.

    `train` is not among them: it reads what preflight made of its step.
    """
    found = {
        "engine": select_keys(params, "engine"),  # no stage depends on it: the bytes are the same
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
        found |= {
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
            found[f"expire/{name}"] = select_keys(params, f"expires.{name}")
            found[f"curate/{name}"] |= select_keys(params, f"expires.{name}")
    for name in params["difficulty"]:
        rule = f"difficulty.{name}"
        # without a step on the dataset nothing is sampled; what is kept of it is sampled for all values of `keep`
        trained = [f"steps.{step}.dataset" for step, given in params["steps"].items() if given["dataset"] == name]
        asked = (f"{rule}.{key}" for key in ("from", "samples", "by", "temperature", "max_new_tokens", "batch_size"))
        found[f"difficulty/{name}"] = select_keys(params, "seed", *asked, *trained)
        found[f"keep/{name}"] = select_keys(params, f"{rule}.keep", *trained)
    for name in params["steps"]:
        found[f"evaluate/{name}"] = select_keys(params, "seed", "evaluate", f"steps.{name}.from", *scoring_keys(params))
    return found


def scoring_keys(params: Params) -> list[str]:
    """The keys of datasets that say how their eval rows are scored."""
    return [*mask_keys(params), *metric_keys(params), *private_keys(params)]


def private_keys(params: Params) -> list[str]:
    """The keys of the datasets that are sent to no server."""
    return [f"datasets.{name}.private" for name, entry in params["datasets"].items() if entry["private"]]


def mask_keys(params: Params) -> list[str]:
    """The keys that say on which datasets thoughts are not learned, and so not scored: of any model, to compare them."""
    return [f"datasets.{name}.reasoning" for name, entry in params["datasets"].items() if entry["reasoning"] == "mask"]


def metric_keys(params: Params) -> list[str]:
    """The keys that say which metrics are computed of generated answers, of the datasets that have any."""
    return [f"datasets.{name}.metrics" for name, entry in params["datasets"].items() if entry["metrics"]]


def base_params(params: Params) -> Params:
    """What `base_params` reads: the text of the chat template too, so that an edit of it is an edit of an input."""
    found = select_keys(
        params, "base.model", "base.revision", "base.eos_token", "base.chat_template_kwargs", "base.date"
    )
    path = params["base"]["chat_template"]
    found["base"]["chat_template"] = Path(path).read_text(encoding="utf-8") if path else None
    return found


def judge_params(params: Params) -> Params:
    """What `judge_params` reads: which model it brings here; of one on a server, that it is there."""
    found = params["evaluate"]["judge"]
    if found is None:
        return select_keys(params, "evaluate.judge")
    keys = ("server",) if found["server"] else ("server", "model", "revision", "kind", "chat_template_kwargs")
    return select_keys(params, *(f"evaluate.judge.{key}" for key in keys))


def select_keys(params: Params, *keys: str) -> Params:
    """The values under some names with dots, at the places that they have in the params."""
    found: Params = {}
    for key in keys:
        *around, last = key.split(".")
        source, target = params, found
        for name in around:
            source, target = source[name], target.setdefault(name, {})
        target[last] = source[last]
    return found


def texts_by_path(params: Params) -> dict[str, str]:
    """{path: text} of every file."""
    return {
        f"{PARAMS_FOLDER.as_posix()}/{name}.json": params_text(read) for name, read in params_by_stage(params).items()
    }


def params_text(read: Params) -> str:
    return json.dumps(read, indent=2, ensure_ascii=False) + "\n"


def write_stage_params(params: Params) -> None:
    """Write each file that differs from the one that is there, none of them half; remove those of what is no more."""
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
