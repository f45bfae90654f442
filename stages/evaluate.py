"""Score one model on every dataset's eval rows, against its parent: the model that its step started from.

models/<step>/, judge/, data/eval.json, data/eval/, data/tasks/, scores/<from>.parquet -> scores/<step>.json, scores/<step>.parquet

    {"chat": {"exact_match": {"value": 0.51, "low": 0.47, "high": 0.55, "n": 683, "change": 0.51, "change_low": 0.47, ...}}}

Few rows have no interval. `cut` counts the generated answers that `max_new_tokens` cut, `cut_thinking` those that were cut in a
thought, before the answer began: these are empty, and `finished` is the value of the others. `alike` counts the answers that are one
text, `alike_answer`, where nearly all are. `constant` is what always giving `constant_answer`, or always taking the longer or shorter
answer (`constant_side`), would score, where that is worth knowing.

Where params.yaml names a judge, `win_rate` is how often the answers win against those of the parent model, or against the rows' own
(`stages/scoring/win_rates.py`).

scores/<step>.parquet has a row for each eval row: the measurements, and the model's answer. Earlier measurements of the same model,
rows and settings are reused; where all are, no model is loaded (`stages/scoring/measurement_cache.py`). Metrics are computed anew
each time. Log-probabilities are means per completion token, without a reference model: a pair counts as won where the chosen
answer's mean is the higher one.
`pass@k` is the chance that one of k sampled answers is right (Chen et al. 2021, Evaluating Large Language Models Trained
on Code, equation 1). Tasks of the lm-evaluation-harness stand under `lm_eval/<task>`.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.params import Params, read_params
from stages.rows.batches import decode_row
from stages.rows.types import Row
from stages.scoring import measurement_cache, statistics, verdicts, win_rates
from stages.scoring.answers import EvalRows
from stages.scoring.baselines import baselines
from stages.scoring.dataset_metrics import (
    Columns,
    Weights,
    metric_names,
    metrics,
    parent_columns,
    read_rewards,
    slice_metrics,
)
from stages.scoring.harness import load_tasks
from stages.scoring.harness_scores import harness_scores
from stages.scoring.judging import JudgeEntry, Pair
from stages.scoring.measurement_cache import Measurement, Part
from stages.scoring.measurements import HARNESS, as_task_result, measure_model
from stages.scoring.own_metrics import metric_columns, rewards_of_answers
from stages.scoring.slices import add_slices, describe_worst_slice, slices_of
from stages.scoring.statistics import Item
from stages.scoring.verdicts import Verdict
from stages.training.models import full_weights
from stages.training.template_settings import read_settings
from stages.training.trainer_rows import reasoning_by_dataset

Verdicts = dict[str, list[Verdict]]  # {id: the two verdicts}


def main(name: str) -> None:
    params = read_params("evaluate", name)
    parent = params["steps"][name]["from"]
    score(name, params, pq.read_table(f"scores/{parent}.parquet"))


def score(name: str, params: Params, parent: pa.Table | None) -> None:
    """Score the model `name`. parent: the table of scores of its parent model; None for the base model."""
    go_offline()
    options, seed = params["evaluate"], params["seed"]
    tasks = load_tasks(options["lm_eval"], seed) if options["lm_eval"] else {}  # first: it may fail
    asked = eval_rows(name, params)
    fingerprints, parts = measure_model(name, asked, tasks, options, seed)
    judged = judge_answers(name, params, asked, fingerprints, parts, parent)
    rewards = read_rewards()
    report: dict[str, dict[str, Item]] = {}
    tables: list[pa.Table] = []
    for dataset, each in asked.items():
        rows, columns = join_parts(each.rows, {part: found for (of, part), found in parts.items() if of == dataset})
        if len(rows) < len(each.rows):
            left_out = f"{len(each.rows) - len(rows):,} of {len(each.rows):,} eval rows are not scored"
            print(f"evaluate {name}: {dataset}: {left_out}: preflight/_unscored.csv")
        if not rows:
            continue
        functions = rewards.get(dataset, {})
        own = metric_names(params, dataset)
        columns |= computed_columns(dataset, each.kind, rows, columns, functions, own)
        ids = [row["id"] for row in rows]
        before = parent_columns(parent, dataset, ids, columns) if parent else None
        report[dataset] = metrics(each.kind, columns, before, functions, len(rows), seed, options, own)
        for metric, baseline in baselines(dataset, each.kind, rows, functions, own).items():
            report[dataset][metric] |= baseline
        if dataset in judged:
            items, wins, part = win_rate_scores(name, params, dataset, rows, *judged[dataset], parent)
            report[dataset] |= items
            columns |= wins | part.columns
            key = dataset, verdicts.COLUMN
            fingerprints[key], parts[key] = verdicts.verdicts_fingerprint(part), part
        score_slice = partial(slice_metrics, each.kind, columns, before, functions, seed=seed, options=options, own=own)
        add_slices(report[dataset], slices_of(rows), score_slice)
        tables.append(pa.table({"dataset": pa.array([dataset] * len(rows)), "id": ids, **columns}))
    results = {
        of.removeprefix(HARNESS): as_task_result(of, part) for (of, _), part in parts.items() if of.startswith(HARNESS)
    }
    report |= harness_scores(results, seed, parent)
    tables += [result.documents for _, result in sorted(results.items()) if result.documents.num_rows]
    settings = settings_to_record(name, options, seed)
    write_scores(name, report, tables, measurement_cache.scores_metadata(fingerprints, parts, settings))
    verdicts.delete_work_file(name)
    measurement_cache.partial_scores_path(name).unlink(missing_ok=True)
    for dataset, items in report.items():
        print(
            f"evaluate {name}: {dataset}: " + ", ".join(describe_metric(metric, item) for metric, item in items.items())
        )
        print_cut_thinking(name, dataset, items)
        if worst := [text for metric, item in items.items() if (text := describe_worst_slice(metric, item))]:
            print(f"evaluate {name}: {dataset}: " + "; ".join(worst))


def settings_to_record(name: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """The settings that the scores record. The switches of the chat template are those of the base and of `evaluate`."""
    given = read_settings(full_weights(Path("models", name)))["chat_template_kwargs"] | options["chat_template_kwargs"]
    keys = ["max_new_tokens", "max_thinking_tokens", "max_rows", "batch_size"]
    keys += ["samples", "temperature"] if options["pass_at_k"] else []
    return {key: options[key] for key in keys} | {"seed": seed, "chat_template_kwargs": given}


def print_cut_thinking(name: str, dataset: str, items: dict[str, Item]) -> None:
    """Print how many answers were cut in a thought, with what to do."""
    counted = [item for item in items.values() if item.get("cut_thinking")]
    if counted:
        item = counted[0]
        answers = f"{item['cut_thinking']:,} of {item.get('answers') or item['n']:,} answers"
        hint = "evaluate.max_thinking_tokens gives thoughts a budget of their own; see docs/evaluation.md"
        print(f"evaluate {name}: {dataset}: {answers} were cut while thinking, and say nothing: {hint}")


def eval_rows(name: str, params: Params) -> dict[str, EvalRows]:
    """{dataset: EvalRows} of every dataset that has eval rows: the first `evaluate.max_rows` of them by id."""
    reasoning, asked = reasoning_by_dataset(params.get("datasets", {})), {}
    for dataset, listed in json.loads(Path("data/eval.json").read_text(encoding="utf-8")).items():
        held_out, most = pq.read_table(f"data/eval/{dataset}.parquet").sort_by("id"), params["evaluate"]["max_rows"]
        table = held_out.slice(0, most)
        if len(table) < len(held_out):
            print(f"evaluate {name}: {dataset}: {most:,} of {len(held_out):,} eval rows, by evaluate.max_rows")
        if table.num_rows:
            rows = [decode_row(row) for row in table.to_pylist()]
            asked[dataset] = EvalRows(listed["kind"], rows, reasoning[dataset], bool(metric_names(params, dataset)))
        else:
            print(f"evaluate {name}: {dataset} has no eval rows")
    return asked


def write_scores(
    name: str, report: dict[str, dict[str, Item]], tables: list[pa.Table], metadata: dict[bytes, bytes]
) -> None:
    """scores/<name>.json and scores/<name>.parquet. Their bytes depend on the content alone."""
    none = pa.table({"dataset": pa.array([], pa.string()), "id": pa.array([], pa.string())})
    table = pa.concat_tables([none, *tables], promote_options="default").combine_chunks()
    path = Path("scores", f"{name}.parquet")
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")
    path.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def describe_metric(metric: str, item: Item) -> str:
    # an AUC of one class has no value
    if item["value"] is None:
        return f"{metric} none"
    cut = statistics.describe_generated(item)
    note = cut or statistics.describe_verdicts(item)
    return f"{metric} {item['value']:.3f}" + (f" ({note})" if note else "")


def go_offline() -> None:
    """Turn off the libraries' network: everything needed is on this machine. They read this when they are imported."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})


def join_parts(rows: list[Row], parts: dict[str, Measurement]) -> tuple[list[Row], Columns]:
    """(the rows that were measured, the columns of all parts) of a dataset."""
    ids = set(next(iter(parts.values())).ids) if parts else ()
    columns = {name: column for part in parts.values() for name, column in part.columns.items()}
    return [row for row in rows if row["id"] in ids], columns


# -- win rates -------------------------------------------------------------------------------------------------------


def judge_answers(
    name: str,
    params: Params,
    asked: dict[str, EvalRows],
    fingerprints: dict[Part, str],
    parts: dict[Part, Measurement],
    parent: pa.Table | None,
) -> dict[str, tuple[list[Pair], Verdicts]]:
    """{dataset: (pairs of answers, the verdicts of each)}; empty where there is no judge. The answers are those in `parts`."""
    options = params["evaluate"]
    if options["judge"] is None:
        return {}
    pairs = win_rates.pairs_to_judge(name, params, asked, parts, parent)
    measurement_cache.save_partial_scores(name, fingerprints, parts)
    judged = verdicts.judge_pairs(name, options["judge"], options["batch_size"], pairs) if pairs else {}
    return {dataset: (of_dataset, judged[dataset]) for dataset, of_dataset in pairs.items()}


def win_rate_scores(
    name: str,
    params: Params,
    dataset: str,
    rows: list[Row],
    pairs: list[Pair],
    judged: Verdicts,
    parent: pa.Table | None,
) -> tuple[dict[str, Item], Columns, Measurement]:
    """({metric: item}, columns, the verdicts as a part of the scores) of one dataset."""
    ids, judge = [row["id"] for row in rows], cast(JudgeEntry, params["evaluate"]["judge"])
    before = parent.filter(pa.compute.equal(parent["dataset"], dataset)) if parent else None
    start = params["steps"][name]["from"] if parent else None
    items, columns = win_rates.summaries(judge, start, ids, pairs, judged, before, params["seed"])
    win_rates.print_missing_verdicts(
        name, dataset, judge["kind"], {row["id"]: row for row in rows}, judged, items["win_rate"]
    )
    return items, columns, verdicts.as_measurement(ids, judged)


# -- values of each row ---------------------------------------------------------------------------------------------


def computed_columns(
    dataset: str, kind: str, rows: list[Row], columns: Columns, functions: Weights, own: list[str]
) -> Columns:
    """Columns that are computed from answers and rows, without the model. columns: measurements. own: the dataset's metrics."""
    answers = columns["generation"].to_pylist() if "generation" in columns else []
    computed = metric_columns(dataset, own, answers, rows, kind) if own else {}
    if kind == "kto":
        return {"label": pa.array([float(row["label"]) for row in rows])}
    if kind == "grpo":
        computed |= {
            f"reward/{name}": pa.array(values, pa.float64())
            for name, values in rewards_of_answers(functions, answers, rows).items()
        }
    return computed | (count_passed(columns["samples"].to_pylist(), rows, functions) if "samples" in columns else {})


def count_passed(samples: list[list[str]], rows: list[Row], functions: Weights) -> Columns:
    """How many of the sampled answers of each row get full marks, 1 or more, from each reward function."""
    answers = [text for texts in samples for text in texts]
    count = len(samples[0])
    return {
        f"passed/{name}": pa.array(np.array([(value or 0) >= 1 for value in values]).reshape(-1, count).sum(1))
        for name, values in rewards_of_answers(functions, answers, [row for row in rows for _ in range(count)]).items()
    }
