"""All measurements of a model: earlier ones are reused; for the others, the model is loaded once.

measure_model("align", {"chat": EvalRows("sft", rows)}, {}, options, 7) -> ({part: fingerprint}, {part: Measurement(ids, columns, facts)})
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.scoring.answers import EvalRows, measure_part, parts_to_measure, scorable_rows
from stages.scoring.generation import LoadedModel, context_length, load_for_generation
from stages.scoring.harness import TaskResult, Tasks, run_tasks, task_facts, task_names
from stages.scoring.measurement_cache import (
    Measurement,
    Part,
    find_parts,
    hash_of_model,
    part_fingerprint,
    task_fingerprint,
)

HARNESS = "lm_eval/"
NO_RESULT = TaskResult({}, pa.table({}))  # of a group without metrics of its own


def measure_model(
    name: str, asked: dict[str, EvalRows], tasks: dict[str, Tasks], options: dict[str, Any], seed: int
) -> tuple[dict[Part, str], dict[Part, Measurement]]:
    """({part: fingerprint}, {part: Measurement}): reused where it was measured before, else measured now.

    tasks: as `load_tasks` returns them. options: `evaluate` of params.yaml.
    """
    folder = Path("models", name)
    fingerprints = part_fingerprints(hash_of_model(folder), asked, tasks, options, seed)
    parts = consistent_parts(find_parts(name, fingerprints), asked)
    missing = sorted({dataset for dataset, _ in fingerprints.keys() - parts.keys()})
    if fingerprints:
        known = ", ".join(sorted({dataset for dataset, _ in fingerprints} - set(missing)))
        reused = [f"measured before, of the same model, and taken over: {known}"] if known else []
        now = f"measured now: {', '.join(missing)}" if missing else "no model is loaded"
        print(f"evaluate {name}: {'; '.join([*reused, now])}")
    if missing:
        model = load_for_generation(
            folder,
            options["batch_size"],
            options["max_new_tokens"],
            options["max_thinking_tokens"],
            options["chat_template_kwargs"],
        )
        for dataset, each in asked.items():
            model.task = f"evaluate {name}: {dataset}"
            parts |= measure_missing_parts(model, dataset, each, parts, options, seed)
        for task, members in tasks.items():
            of_task = [part for part in fingerprints if part[1] == task and part[0].startswith(HARNESS)]
            if any(part not in parts for part in of_task):
                results = run_tasks(model, members, options["lm_eval"], seed)
                parts |= {
                    part: as_measurement(results.get(part[0].removeprefix(HARNESS), NO_RESULT)) for part in of_task
                }
    return fingerprints, {part: parts[part] for part in fingerprints}  # in one order, whatever was measured now


def part_fingerprints(
    model: str, asked: dict[str, EvalRows], tasks: dict[str, Tasks], options: dict[str, Any], seed: int
) -> dict[Part, str]:
    """{part: the hash of all that decides it} of all parts. model: see `hash_of_model`."""
    fingerprints = {
        (dataset, part): part_fingerprint(model, part, each, options, seed)
        for dataset, each in asked.items()
        for part in parts_to_measure(each, options)
    }
    seen: set[str] = set()
    for task, members in tasks.items():
        facts, own = task_facts(members, options["lm_eval"]), set(task_names(members)) - seen
        seen |= own  # a task of two names counts for the first
        fingerprints |= {
            (HARNESS + each, task): task_fingerprint(model, task, each, facts, options, seed) for each in sorted(own)
        }
    return fingerprints


def consistent_parts(parts: dict[Part, Measurement], asked: dict[str, EvalRows]) -> dict[Part, Measurement]:
    """The parts of datasets whose parts all have the same rows, in the order of the eval rows."""
    consistent = {of for of, _ in parts if of not in asked}
    for dataset in {of for of, _ in parts} - consistent:
        first, *others = [measurement.ids for (of, _), measurement in parts.items() if of == dataset]
        rows = set(first)
        if (
            all(ids == first for ids in others)
            and [row["id"] for row in asked[dataset].rows if row["id"] in rows] == first
        ):
            consistent.add(dataset)
    return {part: measurement for part, measurement in parts.items() if part[0] in consistent}


def measure_missing_parts(
    model: LoadedModel,
    dataset: str,
    asked: EvalRows,
    parts: dict[Part, Measurement],
    options: dict[str, Any],
    seed: int,
) -> dict[Part, Measurement]:
    """{(dataset, part): Measurement} of the parts that are missing; of all parts where the known ones have other rows."""
    missing = [part for part in parts_to_measure(asked, options) if (dataset, part) not in parts]
    if not missing:
        return {}
    rows, learned = scorable_rows(model.render, asked)
    ids = [row["id"] for row in rows]
    if longer := count_too_long(learned, asked.kind, limit := context_length(model)):
        some = f"{longer:,} of {len(rows):,} rows are longer than the {limit:,} positions of the model"
        print(f"{model.task}: {some}: their scores say little")
    if any(of == dataset and measurement.ids != ids for (of, _), measurement in parts.items()):
        missing = parts_to_measure(asked, options)
    return {
        (dataset, part): Measurement(
            ids, measure_part(part, model, asked.kind, rows, learned, options, seed) if rows else {}, {}
        )
        for part in missing
    }


def count_too_long(learned: list[Any], kind: str, limit: int | None) -> int:
    """How many rows have more tokens than the model has positions; 0 for grpo. learned: see `scorable_rows`."""
    if limit is None or kind == "grpo":
        return 0
    lengths = ([len(each.ids) if kind == "sft" else len(each[0]) + len(each[1]) for each in row] for row in learned)
    return sum(max(of_row, default=0) > limit for of_row in lengths)


def as_measurement(result: TaskResult) -> Measurement:
    """The harness's result of a task, as a part like any other."""
    documents = result.documents
    columns = {
        name: documents[name].combine_chunks() for name in documents.column_names if name not in ("dataset", "id")
    }
    return Measurement(documents["id"].to_pylist() if documents.num_rows else [], columns, {"values": result.values})


def as_task_result(dataset: str, part: Measurement) -> TaskResult:
    """The TaskResult that `as_measurement` was given. dataset: `lm_eval/<task>`."""
    table = {"dataset": pa.array([dataset] * len(part.ids), pa.string()), "id": pa.array(part.ids, pa.string())}
    return TaskResult(part.facts["values"], pa.table(table | part.columns))
