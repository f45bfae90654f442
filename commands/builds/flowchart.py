"""A lineage as a Mermaid flowchart: raw files, stages, both sides of the split, models, scores."""

from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

from commands.builds.facts import BaseFacts, DatasetFacts, Lineage, ModelFacts, RawFacts, SideFacts, StageFacts

MANY_FILES = 12


class Chart(TypedDict):
    """Lines of a flowchart under construction; stale: ids of nodes."""

    nodes: list[str]
    edges: list[str]
    stale: list[str]


def flowchart(found: Lineage) -> Iterator[str]:
    """Yields the lines of a flowchart."""
    chart: Chart = {"nodes": [], "edges": [], "stale": []}
    models = {"base": add_node(chart, base_label(found["base"]), "([{}])", any_stale(found["base"]["stages"]))}
    trains = {name: dataset_nodes(chart, name, item) for name, item in found["datasets"].items()}
    for name, model in found["models"].items():
        models[name] = add_node(chart, model_label(name, model), "([{}])", any_stale(model["stages"]))
        add_edge(chart, models.get(model["chain"][-2]), models[name])
        add_edge(chart, trains.get(model["dataset"]), models[name])
    for name, model in {"base": found["base"], **found["models"]}.items():
        if model["scores"]:
            add_edge(chart, models[name], add_node(chart, score_lines(name, model["scores"]), "[/{}/]"))
    yield "flowchart LR"
    yield from (f"    {text}" for text in chart["nodes"] + chart["edges"])
    if chart["stale"]:
        yield "    classDef stale stroke-dasharray: 5 5"
        yield f"    class {','.join(chart['stale'])} stale"


def dataset_nodes(chart: Chart, name: str, dataset: DatasetFacts) -> str:
    """Add a dataset, from its raw files to both sides. Returns the id of its train side."""
    *rooms, last = [
        add_node(chart, stage_label(name, stage), "[{}]", any_stale([stage])) for stage in dataset["stages"]
    ]
    for raw in raw_labels(dataset["raw"]):
        add_edge(chart, add_node(chart, raw, "[({})]"), rooms[0])
    for before, after in zip(rooms, [*rooms[1:], last], strict=True):
        add_edge(chart, before, after)
    train, held_out = (add_node(chart, side_label(dataset[side]), "[({})]") for side in ("train", "eval"))
    add_edge(chart, last, train)
    add_edge(chart, last, held_out)
    return train


def add_node(chart: Chart, lines: Iterable[str], shape: str, is_stale: bool = False) -> str:
    """Add a node and return its id. lines: of the label."""
    name = f"n{len(chart['nodes'])}"
    label = "<br/>".join(escape_label(line) for line in [*lines, *(["stale"] if is_stale else [])])
    chart["nodes"].append(name + shape.format(f'"{label}"'))
    chart["stale"] += [name] if is_stale else []
    return name


def add_edge(chart: Chart, start: str | None, end: str) -> None:
    chart["edges"] += [f"{start} --> {end}"] if start else []


def escape_label(text: str) -> str:
    """A text for a quoted label, with Mermaid's codes for the syntax of Mermaid, Markdown and HTML."""
    from stages.rows.tables import safe_text

    return "".join(f"#{ord(c)};" if c in '"#&<>`*_~[]{}()|\\;' else c for c in safe_text(text, 200))


def any_stale(stages: Iterable[StageFacts]) -> bool:
    return any(stage["stale"] for stage in stages)


# -- labels -------------------------------------------------------------------------------------------------------


def raw_labels(raw: RawFacts) -> Iterator[list[str]]:
    files = raw["files"]
    if len(files) > MANY_FILES:
        yield [raw["path"], f"{len(files):,} files", f"{sum(file['bytes'] or 0 for file in files):,} bytes"]
        return
    for file in files:
        counted = [] if file["records"] is None else [f"{file['records']:,} records"]
        known = file["md5"] or file["git"]
        yield [file["path"], *counted, *([known[:10]] if known else [])]


def stage_label(name: str, stage: StageFacts) -> list[str]:
    room = stage["stage"].partition("@")[0]
    from stages.core.outcomes import NOT_SAMPLED

    checks = stage["rejected"]
    rejected = "?" if checks is None else f"{sum(checks.values()) - checks.get(NOT_SAMPLED, 0):,}"
    return [f"{room} {name}", f"{'?' if stage['in'] is None else format(stage['in'], ',')} in", f"{rejected} rejected"]


def side_label(side: SideFacts) -> list[str]:
    rows = "?" if side["rows"] is None else f"{side['rows']:,}"
    return [side["path"], f"{rows} rows", (side["md5"] or "not built")[:10]]


def base_label(base: BaseFacts) -> list[str]:
    revision = [base["revision"][:10]] if base["revision"] else []
    return ["models/base", str(base["model"]), *revision, (base["md5"] or "not built")[:10]]


def model_label(name: str, model: ModelFacts) -> list[str]:
    method = [f"{model['made_of']['method']} on {model['dataset']}"] if model["made_of"] else []
    return [f"models/{name}", *method, (model["md5"] or "not built")[:10]]


def score_lines(name: str, scores: dict[str, Any]) -> list[str]:
    found = [(d, metric, item.get("value")) for d, metrics in scores.items() for metric, item in metrics.items()]
    lines = [f"{dataset}: {metric} {value:.3f}" for dataset, metric, value in found if value is not None]
    return [f"scores/{name}.json", *lines]
