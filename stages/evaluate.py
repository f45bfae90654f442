"""Score one model on every dataset's eval rows, against the model that it started from.

models/<step>/, data/eval.json, data/eval/, data/tasks/, scores/<from>.parquet -> scores/<step>.json, scores/<step>.parquet

    {"chat": {"exact_match": {"value": 0.51, "low": 0.47, "high": 0.55, "n": 683, "change": 0.51, "change_low": 0.47, ...}}}

Of few rows there is no interval. Of what is generated, `cut` counts the answers that `max_new_tokens` cut.

scores/<step>.parquet has a row for each eval row: what was measured, and what the model said. Log-probabilities are means
per completion token, without a reference model: a pair counts as won where the chosen answer's mean is the higher one.
`pass@k` is the chance that one of k sampled answers is right (Chen et al. 2021, Evaluating Large Language Models Trained
on Code, equation 1). Tasks of the lm-evaluation-harness stand under `lm_eval/<task>`.
"""

import contextlib
import json
import os
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.params import read_params
from stages.rows.batches import decoded
from stages.scoring import statistics
from stages.scoring.generation import generate, loaded, sample, token_scores
from stages.scoring.harness import harness_scores, load_tasks
from stages.training.messages import Unproved
from stages.training.prepared import reasoning_of, scored_of
from stages.training.reward_calls import reward_function
from validators._answers import answer_of
from validators.problems import Problem, Problems


def main(name):
    params = read_params("evaluate", name)
    parent = params["steps"][name]["from"]
    score(name, params, pq.read_table(f"scores/{parent}.parquet"))


def score(name, params, parent):
    """Score the model `name`; `parent` is the table of scores of the model that it started from, or None."""
    offline()
    options, seed, reasoning = params["evaluate"], params["seed"], reasoning_of(params.get("datasets", {}))
    functions = read_rewards()
    datasets = json.loads(Path("data/eval.json").read_text(encoding="utf-8"))
    tasks = load_tasks(options["lm_eval"], seed) if options["lm_eval"] else None  # first: it may fail
    model = loaded(Path("models", name), options["batch_size"], options["max_new_tokens"])
    tables, report = [pa.table({"dataset": pa.array([], pa.string()), "id": pa.array([], pa.string())})], {}
    for dataset, listed in datasets.items():
        table = pq.read_table(f"data/eval/{dataset}.parquet").sort_by("id").slice(0, options["max_rows"])
        rows = [decoded(row) for row in table.to_pylist()]
        if not rows:
            print(f"evaluate {name}: {dataset} has no eval rows")
            continue
        given, (rows, learned) = len(rows), scorable(model.render, rows, listed["kind"], reasoning[dataset])
        if len(rows) < given:
            print(
                f"evaluate {name}: {dataset}: {given - len(rows):,} of {given:,} eval rows are not scored: preflight/_unscored.csv"
            )
        if not rows:
            continue
        scored, model.task = functions.get(dataset, {}), f"evaluate {name}: {dataset}"
        columns = measure(model, rows, learned, listed["kind"], scored, options, seed)
        before = columns_of(parent, dataset, [row["id"] for row in rows], columns) if parent else None
        report[dataset] = metrics(listed["kind"], columns, before, scored, len(rows), seed, options)
        tables.append(
            pa.table({"dataset": pa.array([dataset] * len(rows)), "id": [row["id"] for row in rows], **columns})
        )
    if tasks:
        found, documents = harness_scores(model, tasks, options["lm_eval"], seed, parent)
        report, tables = report | found, tables + documents
    Path("scores").mkdir(exist_ok=True)
    pq.write_table(pa.concat_tables(tables, promote_options="default"), f"scores/{name}.parquet", compression="zstd")
    Path(f"scores/{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for dataset, found in report.items():
        print(f"evaluate {name}: {dataset}: " + ", ".join(describe(metric, item) for metric, item in found.items()))


def read_rewards(path="preflight/_rewards.json"):
    """{dataset: {reward function: weight}}."""
    listed = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: {each: item["weight"] for each, item in functions.items()} for name, functions in listed.items()}


def describe(metric, item):
    # an AUC of one class has no value
    if item["value"] is None:
        return f"{metric} none"
    cut = statistics.cut_answers(item)
    return f"{metric} {item['value']:.3f}" + (f" ({cut} at max_new_tokens)" if cut else "")


def offline():
    """No network: what is scored is here. The libraries read this when they are imported."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})


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


def scorable(render, rows, kind, reasoning="keep"):
    """(the rows that the chat template can say, what is learned of each). preflight has named the others.

    Of sft the Sequences of a row, of the others but grpo (tokens of the prompt, of the answer, its labels) of each side.
    """
    kept, learned = [], []
    for row in rows:
        with contextlib.suppress(Unproved):
            learned.append(scored_of(kind, row, render, reasoning))
            kept.append(row)
    return kept, learned


def measure(model, rows, learned, kind, functions, options, seed):
    """Arrow columns of one dataset's eval rows, each (rows,). learned: see `scorable`. options: `evaluate` of params.yaml."""
    if kind == "sft":
        counted = sft_scores(model, learned)
        prompts, answers = zip(*(split_answer(row["messages"]) for row in rows), strict=True)
        said, cut = generate(model, prompts, [row.get("tools") for row in rows])
        match = [float(answer_of(text) == answer_of(answer)) for text, answer in zip(said, answers, strict=True)]
        return counted | {"exact_match": pa.array(match), "cut": pa.array(cut), "generation": pa.array(said)}
    if kind == "grpo":
        said, cut = generate(model, [row["prompt"] for row in rows])
        columns = {
            f"reward/{name}": pa.array(values, pa.float64()) for name, values in rewarded(functions, said, rows).items()
        }
        if options["pass_at_k"]:
            columns |= sampled(model, rows, functions, options, seed)
        return columns | {"cut": pa.array(cut), "generation": pa.array(said)}
    if kind == "kto":
        return {
            "logp": mean_logp(model, [answer for (answer,) in learned]),
            "label": pa.array([float(row["label"]) for row in rows]),
        }
    chosen, rejected = zip(*learned, strict=True)
    return {"chosen_logp": mean_logp(model, chosen), "rejected_logp": mean_logp(model, rejected)}


def rewarded(functions, said, rows):
    """{function: what it gives for each answer}; one answer a row."""
    completions = [[{"role": "assistant", "content": text}] for text in said]
    given = {key: [row[key] for row in rows] for key in ("ground_truth", "extra")} | {"prompts": [row["prompt"] for row in rows]}
    return {name: reward_function(name)(completions=completions, **given) for name in functions}


def sampled(model, rows, functions, options, seed):
    """Sampled answers of each row, and how many of them each reward function gives full marks: 1 or more."""
    count = options["samples"]
    drawn = sample(model, [row["prompt"] for row in rows], count, options["temperature"], seed)
    said = [text for texts in drawn for text in texts]
    passed = {
        f"passed/{name}": pa.array(np.array([(value or 0) >= 1 for value in values]).reshape(-1, count).sum(1))
        for name, values in rewarded(functions, said, [row for row in rows for _ in range(count)]).items()
    }
    return passed | {"samples": pa.array(drawn, pa.list_(pa.string()))}


def split_answer(messages):
    """(prompt, text of the last answer) of a conversation."""
    return messages[:-1], messages[-1]["content"] or ""


def sft_scores(model, learned):
    """Summed negative log-likelihood, tokens and right guesses over what the assistant says, of each row.

    learned: the Sequences of each row; a conversation may be several, one a turn.
    """
    rows = np.repeat(np.arange(len(learned)), [len(sequences) for sequences in learned])
    found = np.zeros((3, len(learned)))
    scores = token_scores(model, *spans([sequence for sequences in learned for sequence in sequences]))
    for total, each in zip(found, scores, strict=True):
        np.add.at(total, rows, each)
    return {name: pa.array(total) for name, total in zip(("nll", "tokens", "right"), found, strict=True)}


def spans(sequences):
    """(token ids, masks of what is learned) of Sequences."""
    return [sequence.ids for sequence in sequences], [
        [label != -100 for label in sequence.labels] for sequence in sequences
    ]


def mean_logp(model, answers):
    """Mean log-probability of what is learned of one answer, of each row. answers: (tokens of the prompt, of the answer, labels)."""
    ids = [prompt + answer for prompt, answer, _ in answers]
    masks = [[0] * len(prompt) + [label != -100 for label in labels] for prompt, _, labels in answers]
    nll, tokens, _ = token_scores(model, ids, masks)
    return pa.array(-nll / np.maximum(tokens, 1))


# -- what is reported of each dataset -------------------------------------------------------------------------------


def metrics(kind, columns, before, functions, rows, seed, options):
    """{metric: summary} of one dataset; `before` has the columns of the model that this one started from."""
    ours = estimators(kind, numbers(columns), functions, options)
    theirs = estimators(kind, numbers(before), functions, options) if before else {}
    found = {name: statistics.summary(metric, theirs.get(name), rows, seed) for name, metric in ours.items()}
    for name in found if "cut" in columns else ():
        if name in ("exact_match", "reward") or name.startswith("reward/"):  # what is measured of the greedy answer
            found[name]["cut"] = int(pa.compute.sum(columns["cut"]).as_py())
    return found


def numbers(columns):
    return {
        name: np.asarray(column, float) for name, column in columns.items() if name not in ("generation", "samples")
    }


def estimators(kind, columns, functions, options):
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
    found = {"reward": statistics.mean(total)} | {name: statistics.mean(values) for name, values in scored.items()}
    for k in options["pass_at_k"] or ():
        chances = {name: pass_at_k(columns[f"passed/{name}"], options["samples"], k) for name in functions}
        found |= {f"pass@{k}/{name}": statistics.mean(chance) for name, chance in chances.items()}
    return found


def pass_at_k(passed, count, k):
    """The chance that one of k answers passes, of each row: without bias, from `count` answers of which `passed` did."""
    return np.array([1 - comb(count - int(right), k) / comb(count, k) for right in passed])
