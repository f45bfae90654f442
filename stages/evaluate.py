"""Score one model on every dataset's eval rows, against the model that it started from.

models/<step>/, judge/, data/eval.json, data/eval/, data/tasks/, scores/<from>.parquet -> scores/<step>.json, scores/<step>.parquet

    {"chat": {"exact_match": {"value": 0.51, "low": 0.47, "high": 0.55, "n": 683, "change": 0.51, "change_low": 0.47, ...}}}

Of few rows there is no interval. Of what is generated, `cut` counts the answers that `max_new_tokens` cut, `cut_thinking` those cut
before they began, in a thought: they say nothing to any metric, and `finished` is the value of the others.

Where params.yaml names a judge, `win_rate` is how often the answers win against those of the model that the step started from, or
against the rows' own (`stages/scoring/win_rates.py`).

scores/<step>.parquet has a row for each eval row: what was measured, and what the model said. What was measured before of the
same model, rows and settings is taken over, and where all of it was, no model is loaded (`stages/scoring/measurement_cache.py`); what
answers are worth is computed anew each time. Log-probabilities are means per completion token, without a reference model: a
pair counts as won where the chosen answer's mean is the higher one.
`pass@k` is the chance that one of k sampled answers is right (Chen et al. 2021, Evaluating Large Language Models Trained
on Code, equation 1). Tasks of the lm-evaluation-harness stand under `lm_eval/<task>`.
"""

import json
import os
from functools import partial
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.params import read_params
from stages.rows.batches import decode_row
from stages.scoring import measurement_cache, statistics, verdicts, win_rates
from stages.scoring.answers import EvalRows
from stages.scoring.harness import load_tasks
from stages.scoring.harness_scores import harness_scores
from stages.scoring.measurements import HARNESS, as_task_result, measure_model
from stages.scoring.own_metrics import metric_columns
from stages.scoring.slices import add_slices, describe_worst_slice, slices_of
from stages.training.models import full_weights
from stages.training.reward_calls import reward_function
from stages.training.template_settings import read_settings
from stages.training.trainer_rows import reasoning_by_dataset
from validators.problems import Problem, Problems


def main(name):
    params = read_params("evaluate", name)
    parent = params["steps"][name]["from"]
    score(name, params, pq.read_table(f"scores/{parent}.parquet"))


def score(name, params, parent):
    """Score the model `name`; `parent` is the table of scores of the model that it started from, or None."""
    go_offline()
    options, seed = params["evaluate"], params["seed"]
    tasks = load_tasks(options["lm_eval"], seed) if options["lm_eval"] else {}  # first: it may fail
    asked = eval_rows(name, params)
    made, parts = measure_model(name, asked, tasks, options, seed)
    judged = judge_answers(name, params, asked, made, parts, parent)
    functions, report, tables = read_rewards(), {}, []
    for dataset, each in asked.items():
        rows, columns = join_parts(each.rows, {part: found for (of, part), found in parts.items() if of == dataset})
        if len(rows) < len(each.rows):
            left = f"{len(each.rows) - len(rows):,} of {len(each.rows):,} eval rows are not scored"
            print(f"evaluate {name}: {dataset}: {left}: preflight/_unscored.csv")
        if not rows:
            continue
        scored = functions.get(dataset, {})
        own = metric_names(params, dataset)
        columns |= computed_columns(dataset, each.kind, rows, columns, scored, own)
        ids = [row["id"] for row in rows]
        before = parent_columns(parent, dataset, ids, columns) if parent else None
        report[dataset] = metrics(each.kind, columns, before, scored, len(rows), seed, options, own)
        if dataset in judged:
            won, more, part = win_rate_scores(name, params, dataset, rows, *judged[dataset], parent)
            report[dataset] |= won
            columns |= more | part.columns
            made[dataset, verdicts.COLUMN], parts[dataset, verdicts.COLUMN] = verdicts.verdicts_fingerprint(part), part
        score_slice = partial(slice_metrics, each.kind, columns, before, scored, seed=seed, options=options, own=own)
        add_slices(report[dataset], slices_of(rows), score_slice)
        tables.append(pa.table({"dataset": pa.array([dataset] * len(rows)), "id": ids, **columns}))
    ran = {
        of.removeprefix(HARNESS): as_task_result(of, found)
        for (of, _), found in parts.items()
        if of.startswith(HARNESS)
    }
    report |= harness_scores(ran, seed, parent)
    tables += [found.documents for _, found in sorted(ran.items()) if found.documents.num_rows]
    write_scores(
        name, report, tables, measurement_cache.scores_metadata(made, parts, settings_to_record(name, options, seed))
    )
    verdicts.delete_work_file(name)
    measurement_cache.partial_scores_path(name).unlink(missing_ok=True)
    for dataset, found in report.items():
        print(
            f"evaluate {name}: {dataset}: " + ", ".join(describe_metric(metric, item) for metric, item in found.items())
        )
        print_cut_thinking(name, dataset, found)
        if worst := [said for metric, item in found.items() if (said := describe_worst_slice(metric, item))]:
            print(f"evaluate {name}: {dataset}: " + "; ".join(worst))


def settings_to_record(name, options, seed):
    """What a model was asked with, as its scores keep it: the switches of the chat template are those of the base and of `evaluate`."""
    given = read_settings(full_weights(Path("models", name)))["chat_template_kwargs"] | options["chat_template_kwargs"]
    keys = ["max_new_tokens", "max_thinking_tokens", "max_rows", "batch_size"]
    keys += ["samples", "temperature"] if options["pass_at_k"] else []
    return {key: options[key] for key in keys} | {"seed": seed, "chat_template_kwargs": given}


def print_cut_thinking(name, dataset, found):
    """Print that answers ended before they began, with what to do."""
    counted = [item for item in found.values() if item.get("cut_thinking")]
    if counted:
        item = counted[0]
        many = f"{item['cut_thinking']:,} of {item.get('answers') or item['n']:,} answers"
        hint = "evaluate.max_thinking_tokens gives thoughts a budget of their own; see docs/evaluation.md"
        print(f"evaluate {name}: {dataset}: {many} were cut while thinking, and say nothing: {hint}")


def metric_names(params, dataset):
    """The metrics that a dataset names, or has by its kind."""
    return params["datasets"].get(dataset, {}).get("metrics") or []


def eval_rows(name, params):
    """{dataset: Asked} of every dataset that has eval rows: the first `evaluate.max_rows` of them by id."""
    reasoning, found = reasoning_by_dataset(params.get("datasets", {})), {}
    for dataset, listed in json.loads(Path("data/eval.json").read_text(encoding="utf-8")).items():
        table = pq.read_table(f"data/eval/{dataset}.parquet").sort_by("id").slice(0, params["evaluate"]["max_rows"])
        if table.num_rows:
            rows = [decode_row(row) for row in table.to_pylist()]
            found[dataset] = EvalRows(listed["kind"], rows, reasoning[dataset], bool(metric_names(params, dataset)))
        else:
            print(f"evaluate {name}: {dataset} has no eval rows")
    return found


def write_scores(name, report, tables, described):
    """scores/<name>.json and scores/<name>.parquet, whose bytes depend on what they say alone."""
    none = pa.table({"dataset": pa.array([], pa.string()), "id": pa.array([], pa.string())})
    table = pa.concat_tables([none, *tables], promote_options="default").combine_chunks()
    path = Path("scores", f"{name}.parquet")
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
    pq.write_table(table.replace_schema_metadata(described), path, compression="zstd")
    path.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def read_rewards(path="preflight/_rewards.json"):
    """{dataset: {reward function: weight}}."""
    listed = json.loads(Path(path).read_text(encoding="utf-8"))
    return {name: {each: item["weight"] for each, item in functions.items()} for name, functions in listed.items()}


def describe_metric(metric, item):
    # an AUC of one class has no value
    if item["value"] is None:
        return f"{metric} none"
    cut = statistics.describe_cut_answers(item)
    noted = cut or statistics.describe_verdicts(item)
    return f"{metric} {item['value']:.3f}" + (f" ({noted})" if noted else "")


def go_offline():
    """No network: what is scored is here. The libraries read this when they are imported."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})


def parent_columns(parent, dataset, ids, columns):
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


def join_parts(rows, parts):
    """(the rows that were measured, the columns of all parts of a dataset)."""
    ids = set(next(iter(parts.values())).ids) if parts else ()
    columns = {name: column for found in parts.values() for name, column in found.columns.items()}
    return [row for row in rows if row["id"] in ids], columns


# -- whose answers are better, by a judge ----------------------------------------------------------------------------


def judge_answers(name, params, asked, made, parts, parent):
    """{dataset: (pairs of answers, the verdicts of each)}; empty where nobody judges. The answers are those that are there."""
    options = params["evaluate"]
    if options["judge"] is None:
        return {}
    pairs = win_rates.pairs_to_judge(name, params, asked, parts, parent)
    measurement_cache.save_partial_scores(name, made, parts)
    said = verdicts.judge_pairs(name, options["judge"], options["batch_size"], pairs) if pairs else {}
    return {dataset: (found, said[dataset]) for dataset, found in pairs.items()}


def win_rate_scores(name, params, dataset, rows, pairs, said, parent):
    """({metric: summary}, columns, the verdicts as a part of the scores) of one dataset."""
    ids, judge = [row["id"] for row in rows], params["evaluate"]["judge"]
    before = parent.filter(pa.compute.equal(parent["dataset"], dataset)) if parent else None
    start = params["steps"][name]["from"] if parent else None
    won, columns = win_rates.summaries(judge, start, ids, pairs, said, before, params["seed"])
    win_rates.print_missing_verdicts(
        name, dataset, judge["kind"], {row["id"]: row for row in rows}, said, won["win_rate"]
    )
    return won, columns, verdicts.as_measurement(ids, said)


# -- what it is worth -----------------------------------------------------------------------------------------------


def computed_columns(dataset, kind, rows, columns, functions, own):
    """Columns of what is computed of answers and rows, without the model. columns: what was measured. own: names of metrics."""
    said = columns["generation"].to_pylist() if "generation" in columns else []
    found = metric_columns(dataset, own, said, rows, kind) if own else {}
    if kind == "kto":
        return {"label": pa.array([float(row["label"]) for row in rows])}
    if kind == "grpo":
        found |= {
            f"reward/{name}": pa.array(values, pa.float64())
            for name, values in rewards_of_answers(functions, said, rows).items()
        }
    return found | (count_passed(columns["samples"].to_pylist(), rows, functions) if "samples" in columns else {})


def rewards_of_answers(functions, said, rows):
    """{function: what it gives for each answer}; one answer a row."""
    completions = [[{"role": "assistant", "content": text}] for text in said]
    given = {key: [row[key] for row in rows] for key in ("ground_truth", "extra")} | {
        "prompts": [row["prompt"] for row in rows]
    }
    return {name: reward_function(name)(completions=completions, **given) for name in functions}


def count_passed(drawn, rows, functions):
    """How many of the sampled answers of each row each reward function gives full marks: 1 or more."""
    said = [text for texts in drawn for text in texts]
    count = len(drawn[0])
    return {
        f"passed/{name}": pa.array(np.array([(value or 0) >= 1 for value in values]).reshape(-1, count).sum(1))
        for name, values in rewards_of_answers(functions, said, [row for row in rows for _ in range(count)]).items()
    }


# -- what is reported of each dataset -------------------------------------------------------------------------------


def metrics(kind, columns, before, functions, rows, seed, options, own=()):
    """{metric: summary} of one dataset; `before` has the columns of the model that this one started from."""
    ours = estimators(kind, numeric_columns(columns), functions, options, own)
    theirs = estimators(kind, numeric_columns(before), functions, options, own) if before else {}
    found = {name: statistics.summary(metric, theirs.get(name), rows, seed) for name, metric in ours.items()}
    for name in found if "cut" in columns else ():
        if name in own or name == "reward" or name.startswith("reward/"):  # what is measured of the greedy answer
            found[name] |= cut_counts(columns, ours[name])
    for name in found if "samples_cut_thinking" in columns else ():
        if name.startswith("pass@"):
            cut = int(pa.compute.sum(columns["samples_cut_thinking"]).as_py())
            found[name] |= {"cut_thinking": cut, "answers": rows * options["samples"]}
    for name in own:
        judged = len(columns[name]) - columns[name].null_count
        found[name] |= statistics.drop_interval_if_few({"n": judged, "answers": rows} if judged < rows else {}, judged)
    return found


def slice_metrics(kind, columns, before, functions, places, seed, options, own):
    """{metric: summary} of the rows at some places of a dataset, as of a dataset of its own."""
    ours, theirs = (
        {name: column.take(pa.array(places)) for name, column in given.items()} if given else None
        for given in (columns, before)
    )
    return metrics(kind, ours, theirs, functions, len(places), seed, options, own)


def cut_counts(columns, metric):
    """How many greedy answers were cut, in the answer and while thinking; where any was, what the metric is of those that were not."""
    thinking = np.asarray(columns["cut_thinking"], float)
    found = {"cut": int(np.asarray(columns["cut"], int).sum()), "cut_thinking": int(thinking.sum())}
    if not found["cut_thinking"]:
        return found
    return found | {"finished": statistics.round_or_none(float(np.squeeze(metric((1 - thinking)[None]))))}


def numeric_columns(columns):
    return {
        name: np.asarray(column, float) for name, column in columns.items() if name not in ("generation", "samples")
    }


def estimators(kind, columns, functions, options, own):
    """{metric: function of bootstrap weights} of one dataset. A metric's mean is over the rows that it judges."""
    judged = {name: ~np.isnan(columns[name]) for name in own}
    means = {name: statistics.ratio(np.nan_to_num(columns[name]), each.astype(float)) for name, each in judged.items()}
    if kind == "sft":
        return {
            "loss": statistics.ratio(columns["nll"], columns["tokens"]),
            "token_accuracy": statistics.ratio(columns["right"], columns["tokens"]),
        } | means
    if kind == "preference":
        margin = columns["chosen_logp"] - columns["rejected_logp"]
        return {"pair_accuracy": statistics.mean((np.sign(margin) + 1) / 2), "margin": statistics.mean(margin)} | means
    if kind == "kto":
        return {"auc": statistics.auc(columns["logp"], columns["label"])}
    # a reward function may return None for a row that it does not judge: TRL counts it as nothing, and so do we
    scored = {f"reward/{name}": np.nan_to_num(columns[f"reward/{name}"]) for name in functions}
    total = sum(weight * scored[f"reward/{name}"] for name, weight in functions.items())
    found = {"reward": statistics.mean(total)} | {name: statistics.mean(values) for name, values in scored.items()}
    for k in options["pass_at_k"] or ():
        chances = {name: pass_at_k(columns[f"passed/{name}"], options["samples"], k) for name in functions}
        found |= {f"pass@{k}/{name}": statistics.mean(chance) for name, chance in chances.items()}
    return found | means


def pass_at_k(passed, count, k):
    """The chance that one of k answers passes, of each row: without bias, from `count` answers of which `count_passed` did."""
    return np.array([1 - comb(count - int(right), k) / comb(count, k) for right in passed])
