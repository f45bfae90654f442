"""Resolve every step and prove on a CPU that it can be trained, before any step trains.

params seed, base, steps; data/train.json, data/train/, models/base -> preflight/<step>.json, preflight/_rewards.json

    {"step": "sft", "method": "sft", "dataset": "chat", "rows": 3741, "trained_rows": 3741, "tokens": 91022,
     "learned_tokens": 28419, "optimizer_steps": 468, "length": {"p50": 23, "p95": 41, "max": 60}, "args": {...}, ...}

`train` depends on its own file alone, so an edit of one step leaves the others as they are: what is written here must be
a pure function of data and params. What depends on the machine is printed, never written.
"""

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stages._models import load_tokenizer
from stages._params import read_params
from stages._trl import COLUMNS, make_config, training_tokenizer
from validators import rewards
from validators._problems import Problem, Problems

OUT = Path("preflight")


def main():
    params = read_params()
    datasets = json.loads(Path("data/train.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    problems, reports = [], {}
    for name, step in params["steps"].items():
        try:
            reports[name] = examine(name, resolve(name, step, params), tokenizer)
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    for name, report in reports.items():
        write(f"{name}.json", report)
        print(
            f"preflight {name}: {report['method']} on {report['dataset']}, {report['trained_rows']:,} of {report['rows']:,} rows, "
            f"{report['learned_tokens']:,} of {report['tokens']:,} tokens learned, {report['optimizer_steps']:,} optimizer steps"
        )
    write("_rewards.json", scored_rewards(params["steps"], datasets))


def write(name, report):
    (OUT / name).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def resolve(name, step, params):
    """A step with everything that decides its training, and nothing else (a waiver, say, does not)."""
    resolved = {
        "step": name,
        "method": step["method"],
        "from": step["from"],
        "dataset": step["dataset"],
        "seed": step.get("args", {}).get("seed", params["seed"]),
        "backend": params["base"]["backend"],
        "args": step.get("args", {}),
        "lora": step.get("lora"),
        "load_in_4bit": step.get("load_in_4bit", False),
    }
    if step["method"] == "grpo":
        resolved |= {
            "rewards": step["rewards"],
            "reward_code": hashlib.sha256(Path(rewards.__file__).read_bytes()).hexdigest(),
        }
    return resolved


def scored_rewards(steps, datasets):
    """{dataset: {function: weight}} that evaluate scores: those of the grpo steps on it, else exact_match alone."""
    scored = {name: {"exact_match": 1.0} for name, dataset in datasets.items() if dataset["kind"] == "grpo"}
    for step in steps.values():
        if step["method"] == "grpo":
            weights = step.get("args", {}).get("reward_weights") or [1.0] * len(step["rewards"])
            scored[step["dataset"]] = dict(zip(step["rewards"], weights, strict=True))
    return scored


def examine(name, step, tokenizer):
    """The step with its rows, tokens and optimizer steps counted. Raises Problems where it cannot be trained."""
    where, method = f"steps.{name}", step["method"]
    config = make_config(where, step, ".work/preflight")
    rows = pq.read_table(f"data/train/{step['dataset']}.parquet", columns=COLUMNS[method]).to_pylist()
    prompts, learned = lengths(rows, method, tokenizer, where)
    total = prompts + learned
    limit = getattr(config, "max_length", None) if method != "grpo" else None
    # TRL drops these rows without a word: a prompt that alone fills max_length leaves nothing to learn
    trained = np.ones(len(rows), bool) if limit is None or method == "orpo" else prompts < limit
    count = int(trained.sum())
    if not count:
        raise Problems(
            [
                Problem(
                    where,
                    f"no row of {step['dataset']!r} fits max_length {limit}",
                    "prompts shorter than that",
                    f"the median prompt has {int(np.median(prompts))} tokens; raise args.max_length",
                )
            ]
        )
    steps = optimizer_steps(config, method, count)
    if not steps:
        raise Problems(
            [
                Problem(
                    where,
                    f"{count} rows make 0 optimizer steps",
                    "at least one batch",
                    "lower per_device_train_batch_size, gradient_accumulation_steps or num_generations",
                )
            ]
        )
    return step | {
        "rows": len(rows),
        "trained_rows": count,
        "tokens": int(total[trained].sum()),
        "learned_tokens": int(learned[trained].sum()),
        "optimizer_steps": steps,
        "length": {"p50": int(np.percentile(total, 50)), "p95": int(np.percentile(total, 95)), "max": int(total.max())},
    }


def optimizer_steps(config, method, rows):
    """Optimizer steps of one process; GRPO spends `num_generations` completions on each prompt."""
    if config.max_steps > 0:
        return config.max_steps
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    if method == "grpo":
        per_epoch = rows // max(1, config.generation_batch_size // config.num_generations) * config.steps_per_generation
        return math.floor(per_epoch // config.gradient_accumulation_steps * config.num_train_epochs)
    return math.ceil(math.ceil(rows / batch) * config.num_train_epochs)


def lengths(rows, method, tokenizer, where):
    """(prompt tokens, learned tokens) of each row, both (rows,) integers, as the trainer will see them.

    SFT: learned are the tokens inside the template's generation marks. Preference: the longer of the two answers counts.
    Raises Problems where a row teaches nothing, or where the end of the answer is not learned.
    """
    if method == "sft":
        return sft_lengths(rows, training_tokenizer(tokenizer), where)
    prompts = np.array([len(rendered(tokenizer, row["prompt"], add_generation_prompt=True)) for row in rows])
    if method == "grpo":
        return prompts, np.zeros(len(rows), int)
    sides = ("completion",) if method == "kto" else ("chosen", "rejected")
    whole = np.array([max(len(rendered(tokenizer, row["prompt"] + row[side])) for side in sides) for row in rows])
    return prompts, np.maximum(whole - prompts, 0)


def rendered(tokenizer, messages, **options):
    """Token ids of a conversation; TRL's rows carry `tool_calls: null`, which templates take as no call."""
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]


def sft_lengths(rows, tokenizer, where):
    prompts, learned = [], []
    for number, row in enumerate(rows):
        tokens = tokenizer.apply_chat_template(
            row["messages"],
            tools=json.loads(row["tools"]) if row.get("tools") else None,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids, mask = np.array(tokens["input_ids"]), np.array(tokens["assistant_masks"], bool)
        if not mask.any():
            raise Problems(
                [
                    Problem(
                        where,
                        f"train row {number} has no token to learn from",
                        "an assistant turn inside generation marks",
                        "look at the chat template of the base model",
                    )
                ]
            )
        last = int(np.flatnonzero(mask)[-1])
        if ids[last] != tokenizer.eos_token_id and tokenizer.eos_token_id not in ids[mask][-2:]:
            raise Problems(
                [
                    Problem(
                        where,
                        f"the end of the answer is not learned: train row {number} ends with "
                        f"{tokenizer.decode(ids[last : last + 1])!r}",
                        f"{tokenizer.eos_token!r} inside the generation marks",
                        "a model that never learns to stop goes on until max_new_tokens; mend the chat template",
                    )
                ]
            )
        prompts.append(int(np.flatnonzero(mask)[0]))
        learned.append(int(mask.sum()))
    return np.array(prompts), np.array(learned)
