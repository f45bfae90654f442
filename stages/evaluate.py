"""Score one model on every dataset's eval rows, against the model that it started from.

models/<step>/, data/eval.json, data/eval/, scores/<from>.parquet -> scores/<step>.json, scores/<step>.parquet

    {"chat": {"exact_match": {"value": 0.51, "low": 0.47, "high": 0.55, "n": 683, "change": 0.51, "change_low": 0.47, ...}}}

scores/<step>.parquet has a row for each eval row: what was measured, and what the model said. Log-probabilities are means
per completion token, without a reference model: a pair counts as won where the chosen answer's mean is the higher one.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages import _statistics as statistics
from stages._models import load_model, load_tokenizer
from stages._params import read_params
from stages._trl import training_tokenizer
from validators import rewards
from validators._problems import Problem, Problems


def main(name):
    params = read_params()
    parent = params["steps"][name]["from"]
    score(name, params, pq.read_table(f"scores/{parent}.parquet"))


def score(name, params, parent):
    """Score the model `name`; `parent` is the table of scores of the model that it started from, or None."""
    options, seed = params["evaluate"], params["seed"]
    functions = json.loads(Path("preflight/_rewards.json").read_text(encoding="utf-8"))
    datasets = json.loads(Path("data/eval.json").read_text(encoding="utf-8"))
    model = Scored(Path("models", name), options)
    tables, report = [], {}
    for dataset, listed in datasets.items():
        rows = pq.read_table(f"data/eval/{dataset}.parquet").sort_by("id").slice(0, options["max_rows"]).to_pylist()
        if not rows:
            print(f"evaluate {name}: {dataset} has no eval rows")
            continue
        columns = measure(model, rows, listed["kind"], functions.get(dataset, {}))
        before = columns_of(parent, dataset, [row["id"] for row in rows], columns) if parent else None
        report[dataset] = metrics(listed["kind"], columns, before, functions.get(dataset, {}), len(rows), seed)
        tables.append(
            pa.table({"dataset": pa.array([dataset] * len(rows)), "id": [row["id"] for row in rows], **columns})
        )
    Path("scores").mkdir(exist_ok=True)
    pq.write_table(pa.concat_tables(tables, promote_options="default"), f"scores/{name}.parquet", compression="zstd")
    Path(f"scores/{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for dataset, found in report.items():
        print(
            f"evaluate {name}: {dataset}: "
            + ", ".join(f"{metric} {item['value']:.3f}" for metric, item in found.items())
        )


class Scored:
    """A model with its tokenizer, on the best device that is there."""

    def __init__(self, folder, options):
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "bfloat16" if self.device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
        self.model = load_model(folder, dtype, self.device).eval()
        self.tokenizer = load_tokenizer(folder)
        self.batch_size, self.max_new_tokens = options["batch_size"], options["max_new_tokens"]


def columns_of(parent, dataset, ids, columns):
    """The parent's columns of the same rows in the same order. Raises Problems where it was scored on other rows."""
    theirs = parent.filter(pa.compute.equal(parent["dataset"], dataset))
    missing = set(columns) - set(theirs.column_names)
    if theirs["id"].to_pylist() != ids or missing:
        raise Problems(
            [
                Problem(
                    f"scores of {dataset}",
                    "the model that this one started from was scored on other rows",
                    "the same eval rows for both",
                    "dvc repro",
                )
            ]
        )
    return {name: theirs[name] for name in columns}


# -- what is measured of each row -----------------------------------------------------------------------------------


def measure(model, rows, kind, functions):
    """Arrow columns of one dataset's eval rows, each (rows,)."""
    if kind == "sft":
        counted = sft_scores(model, rows)
        prompts, answers = zip(*(split_answer(row["messages"]) for row in rows), strict=True)
        said = generate(model, prompts, [tools_of(row) for row in rows])
        match = [float(text.strip() == answer.strip()) for text, answer in zip(said, answers, strict=True)]
        return counted | {"exact_match": pa.array(match), "generation": pa.array(said)}
    if kind == "grpo":
        said = generate(model, [row["prompt"] for row in rows])
        completions = [[{"role": "assistant", "content": text}] for text in said]
        given = {key: [row[key] for row in rows] for key in ("prompt", "ground_truth", "extra")}
        scored = {
            f"reward/{name}": pa.array(getattr(rewards, name)(completions=completions, **given), pa.float64())
            for name in functions
        }
        return scored | {"generation": pa.array(said)}
    if kind == "kto":
        return {"logp": mean_logp(model, rows, "completion"), "label": pa.array([float(row["label"]) for row in rows])}
    return {f"{side}_logp": mean_logp(model, rows, side) for side in ("chosen", "rejected")}


def tools_of(row):
    return json.loads(row["tools"]) if row.get("tools") else None


def split_answer(messages):
    """(prompt, text of the last answer) of a conversation."""
    return messages[:-1], messages[-1]["content"] or ""


def sft_scores(model, rows):
    """Summed negative log-likelihood, tokens and right guesses over what the assistant says, of each row."""
    tokenizer = training_tokenizer(model.tokenizer)
    ids, masks = [], []
    for row in rows:
        tokens = tokenizer.apply_chat_template(
            row["messages"], tools=tools_of(row), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids.append(tokens["input_ids"])
        masks.append(tokens["assistant_masks"])
    nll, tokens, right = token_scores(model, ids, masks)
    return {"nll": pa.array(nll), "tokens": pa.array(tokens), "right": pa.array(right)}


def mean_logp(model, rows, side):
    """Mean log-probability of the tokens of one answer, of each row."""
    ids, masks = [], []
    for row in rows:
        prompt = render(model.tokenizer, row["prompt"], add_generation_prompt=True)
        whole = render(model.tokenizer, row["prompt"] + row[side])
        # the template may render the prompt alone differently: the answer begins where the two part, as TRL takes it
        shared = next(
            (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole))
        )
        ids.append(whole)
        masks.append([0] * shared + [1] * (len(whole) - shared))
    nll, tokens, _ = token_scores(model, ids, masks)
    return pa.array(-nll / np.maximum(tokens, 1))


def render(tokenizer, messages, **options):
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]


def token_scores(model, ids, masks):
    """(nll, tokens, right) of the masked tokens, each (rows,): batches of similar length, padded on the right."""
    import torch

    found = np.zeros((3, len(ids)))
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    for first in range(0, len(order), model.batch_size):
        batch = order[first : first + model.batch_size]
        width = max(len(ids[i]) for i in batch)
        padded = torch.tensor([ids[i] + [model.tokenizer.pad_token_id] * (width - len(ids[i])) for i in batch])
        mask = torch.tensor([masks[i] + [0] * (width - len(ids[i])) for i in batch], dtype=torch.bool)
        attention = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in batch])
        with torch.inference_mode():
            logits = model.model(input_ids=padded.to(model.device), attention_mask=attention.to(model.device)).logits
        logits, targets, mask = logits[:, :-1].float().cpu(), padded[:, 1:], mask[:, 1:]
        logp = torch.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0]
        right = logits.argmax(-1) == targets
        found[:, batch] = np.stack([(-logp * mask).sum(1), mask.sum(1), (right & mask).sum(1)])
    return found


def generate(model, prompts, tools=None):
    """What the model answers to each prompt, decoded greedily."""
    import torch

    texts = [
        model.tokenizer.apply_chat_template(
            prompt, tools=tools[i] if tools else None, tokenize=False, add_generation_prompt=True
        )
        for i, prompt in enumerate(prompts)
    ]
    said = [""] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    for first in range(0, len(order), model.batch_size):
        batch = order[first : first + model.batch_size]
        # the template has written the special tokens already: adding them again would double the first
        inputs = model.tokenizer(
            [texts[i] for i in batch], return_tensors="pt", padding=True, add_special_tokens=False
        ).to(model.device)
        with torch.inference_mode():
            tokens = model.model.generate(**inputs, max_new_tokens=model.max_new_tokens, do_sample=False)
        answers = model.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, answer in zip(batch, answers, strict=True):
            said[i] = answer
    return said


# -- what is reported of each dataset -------------------------------------------------------------------------------


def metrics(kind, columns, before, functions, rows, seed):
    """{metric: summary} of one dataset; `before` has the columns of the model that this one started from."""
    ours = estimators(kind, numbers(columns), functions)
    theirs = estimators(kind, numbers(before), functions) if before else {}
    return {name: statistics.summary(metric, theirs.get(name), rows, seed) for name, metric in ours.items()}


def numbers(columns):
    return {name: np.asarray(column, float) for name, column in columns.items() if name != "generation"}


def estimators(kind, columns, functions):
    """{metric: function of bootstrap weights} of one dataset."""
    if kind == "sft":
        return {
            "loss": statistics.ratio(columns["nll"], columns["tokens"]),
            "token_accuracy": statistics.ratio(columns["right"], columns["tokens"]),
            "exact_match": statistics.mean(columns["exact_match"]),
        }
    if kind == "preference":
        margin = columns["chosen_logp"] - columns["rejected_logp"]
        return {"pair_accuracy": statistics.mean((np.sign(margin) + 1) / 2), "margin": statistics.mean(margin)}
    if kind == "kto":
        return {"auc": statistics.auc(columns["logp"], columns["label"])}
    # a reward function may return None for a row that it does not judge: TRL counts it as nothing, and so do we
    scored = {f"reward/{name}": np.nan_to_num(columns[f"reward/{name}"]) for name in functions}
    total = sum(weight * scored[f"reward/{name}"] for name, weight in functions.items())
    return {"reward": statistics.mean(total)} | {name: statistics.mean(values) for name, values in scored.items()}
