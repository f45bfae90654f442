"""All that is measured of a model: what was measured before is taken over, the rest is asked of it, loaded once.

measured("align", {"chat": Asked("sft", rows)}, {}, options, 7) -> ({part: what makes it}, {part: Found(ids, columns, facts)})
"""

from pathlib import Path

import pyarrow as pa

from stages.scoring.answers import EvalRows, measure_part, parts_to_measure, scorable_rows
from stages.scoring.generation import context_length, load_for_generation
from stages.scoring.harness import TaskResult, run_tasks, task_facts, task_names
from stages.scoring.measurement_cache import (
    Measurement,
    Part,
    find_parts,
    hash_of_model,
    part_fingerprint,
    task_fingerprint,
)

HARNESS = "lm_eval/"
NO_RESULT = TaskResult({}, pa.table({}))  # of a group that is a name for its tasks, and no more


def measure_model(
    name: str, asked: dict[str, EvalRows], tasks: dict, options: dict, seed: int
) -> tuple[dict[Part, str], dict[Part, Measurement]]:
    """(what makes each part, what each part is): taken over where it was measured before, else asked of the model.

    tasks: as `load_tasks` gives them. options: `evaluate` of params.yaml.
    """
    folder = Path("models", name)
    made = part_fingerprints(hash_of_model(folder), asked, tasks, options, seed)
    parts = consistent_parts(find_parts(name, made), asked)
    missing = sorted({dataset for dataset, _ in made.keys() - parts.keys()})
    if made:
        known = ", ".join(sorted({dataset for dataset, _ in made} - set(missing)))
        over = (
            f"measured before, of the same model, and taken over: {known}" if known else "nothing was measured before"
        )
        print(
            f"evaluate {name}: {over}"
            + (f"; measured now: {', '.join(missing)}" if missing else "; no model is loaded")
        )
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
            wanted = [key for key in made if key[1] == task and key[0].startswith(HARNESS)]
            if any(key not in parts for key in wanted):
                ran = run_tasks(model, members, options["lm_eval"], seed)
                parts |= {key: as_measurement(ran.get(key[0].removeprefix(HARNESS), NO_RESULT)) for key in wanted}
    return made, {key: parts[key] for key in made}  # in this order, whatever was measured now


def part_fingerprints(model: str, asked: dict[str, EvalRows], tasks: dict, options: dict, seed: int) -> dict[Part, str]:
    """{part: the hash of all that decides it} of all that is asked. model: see `hash_of_model`."""
    made = {
        (dataset, part): part_fingerprint(model, part, each, options, seed)
        for dataset, each in asked.items()
        for part in parts_to_measure(each, options)
    }
    taken = set()
    for task, members in tasks.items():
        facts, own = task_facts(members, options["lm_eval"]), set(task_names(members)) - taken
        taken |= own  # what two names share is kept of the first
        made |= {
            (HARNESS + each, task): task_fingerprint(model, task, each, facts, options, seed) for each in sorted(own)
        }
    return made


def consistent_parts(parts: dict[Part, Measurement], asked: dict[str, EvalRows]) -> dict[Part, Measurement]:
    """The parts of datasets all of whose parts have the same rows, in the order of the eval rows."""
    good = {of for of, _ in parts if of not in asked}
    for dataset in {of for of, _ in parts} - good:
        first, *others = [found.ids for (of, _), found in parts.items() if of == dataset]
        rows = set(first)
        if (
            all(ids == first for ids in others)
            and [row["id"] for row in asked[dataset].rows if row["id"] in rows] == first
        ):
            good.add(dataset)
    return {part: found for part, found in parts.items() if part[0] in good}


def measure_missing_parts(
    model, dataset: str, asked: EvalRows, parts: dict[Part, Measurement], options: dict, seed: int
) -> dict[Part, Measurement]:
    """{(dataset, part): Found} of the parts that are missing; of all where the others have other rows."""
    wanted = [part for part in parts_to_measure(asked, options) if (dataset, part) not in parts]
    if not wanted:
        return {}
    rows, learned = scorable_rows(model.render, asked)
    ids = [row["id"] for row in rows]
    if longer := count_too_long(learned, asked.kind, limit := context_length(model)):
        some = f"{longer:,} of {len(rows):,} rows are longer than the {limit:,} positions of the model"
        print(f"{model.task}: {some}: their scores say little")
    if any(of == dataset and found.ids != ids for (of, _), found in parts.items()):
        wanted = parts_to_measure(asked, options)
    return {
        (dataset, part): Measurement(
            ids, measure_part(part, model, asked.kind, rows, learned, options, seed) if rows else {}, {}
        )
        for part in wanted
    }


def count_too_long(learned: list, kind: str, limit: int | None) -> int:
    """How many rows have more tokens than the model has positions. learned: see `scorable`; of grpo rows none are counted."""
    if limit is None or kind == "grpo":
        return 0
    lengths = ([len(each.ids) if kind == "sft" else len(each[0]) + len(each[1]) for each in row] for row in learned)
    return sum(max(found, default=0) > limit for found in lengths)


def as_measurement(ran: TaskResult) -> Measurement:
    """What the harness found of a task, as a part like any other."""
    documents = ran.documents
    columns = {
        name: documents[name].combine_chunks() for name in documents.column_names if name not in ("dataset", "id")
    }
    return Measurement(documents["id"].to_pylist() if documents.num_rows else [], columns, {"values": ran.values})


def as_task_result(dataset: str, found: Measurement) -> TaskResult:
    """The same as the harness's."""
    table = {"dataset": pa.array([dataset] * len(found.ids), pa.string()), "id": pa.array(found.ids, pa.string())}
    return TaskResult(found.facts["values"], pa.table(table | found.columns))
