"""The two drawings besides the charts: the flow of rows from raw to train and eval, and the graph of the build.

They are geometry in plain numbers; stages/reporting/templates/ has the styles. The flow is a Sankey diagram with one step. The
height of a band is its share of the rows. Each name has room, even beside a thin band.
Source: Schmidt, The Sankey diagram in energy and material flow management (2008).
"""

from collections.abc import Sequence
from typing import Any

Counts = Sequence[tuple[str, int]]
Node = dict[str, Any]
Place = tuple[int, float]  # column, row
HEIGHT, BAR, LEFT, RIGHT, ROOM, GAP = 144, 12, 0, 138, 20, 3
NODE_WIDTH, NODE_HEIGHT, COLUMN, ROW = 152, 46, 208, 56
REASONS = 5


def flow(
    train: int, held_out: int, reasons: Counts, left_out: Counts = (), unscored: Counts = (), not_sampled: int = 0
) -> dict[str, Any]:
    """{"bands": [{path, y, height, label_y, kind, name, count, share}], "height"} of one dataset.

    reasons: [(check, count)], the most frequent first; those beyond REASONS are added up. left_out, unscored: the same for the
    rows of train and of eval that preflight leaves out; the bands of train and eval do not count these. not_sampled: rows
    beyond `weights` and `max_rows`.
    """
    parts = []
    for side, rows, without in (("train", train, left_out), ("eval", held_out, unscored)):
        parts.append((side, side, rows - sum(count for _, count in without)))
        parts += [("reject", name, count) for name, count in top_reasons(without, REASONS // 2)]
    parts.append(("unsampled", "not sampled", not_sampled))
    parts += [("reject", name, count) for name, count in top_reasons(reasons, REASONS)]
    parts = [part for part in parts if part[2]]
    total = sum(count for _, _, count in parts)
    if not total:
        return {"bands": [], "height": 0}
    bands, source, target = [], 0.0, 0.0
    for kind, name, count in parts:
        thick = max(HEIGHT * count / total, 1.5)
        room = max(thick, ROOM)
        y = target + (room - thick) / 2
        bands.append(
            {
                "path": band_path(LEFT + BAR, source, RIGHT, y, thick),
                "y": round(y, 2), "height": round(thick, 2), "label_y": round(target + room / 2, 2),
                "kind": kind, "name": name, "count": count, "share": count / total,
            }
        )  # fmt: skip
        source += HEIGHT * count / total
        target += room + GAP
    return {"bands": bands, "height": round(max(target, HEIGHT + GAP), 2), "left_height": HEIGHT}


def top_reasons(reasons: Counts, most: int) -> Counts:
    """The first reasons. The last one adds up the others. reasons: [(name, count)]."""
    if len(reasons) <= most:
        return reasons
    rest = reasons[most - 1 :]
    return [*reasons[: most - 1], (f"{len(rest)} other reasons", sum(count for _, count in rest))]


def band_path(x1: float, y1: float, x2: float, y2: float, thick: float) -> str:
    """The outline of a band from (x1, y1) to (x2, y2), as an SVG path."""
    middle = (x1 + x2) / 2
    y1, y2, low1, low2 = (round(value, 2) for value in (y1, y2, y1 + thick, y2 + thick))
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}V{low2}C{middle} {low2} {middle} {low1} {x1} {low1}Z"


def graph(datasets: dict[str, Node], steps: dict[str, Node]) -> dict[str, Any]:
    """{"nodes": [{x, y, kind, name, note, href}], "edges": [{path, kind}], "width", "height"} of a build.

    datasets: {name: {raw, note}}; steps: {name: {from, dataset, note}}. Columns: raw data; datasets and the base model;
    then models by their number of steps from the base. A model is beside its dataset where that place is free.
    """
    places = node_places(datasets, steps)
    nodes: list[Node] = [
        *({"kind": "raw", "name": raw, "note": "raw data", "href": raw_link(raw, datasets)} for kind, raw in places if kind == "raw"),
        *({"kind": "dataset", "name": name, "note": item["note"], "href": f"#data-{name}"} for name, item in datasets.items()),
        {"kind": "model", "name": "base", "note": "base model", "href": "#base"},
        *({"kind": "model", "name": name, "note": step["note"], "href": f"#step-{name}"} for name, step in steps.items()),
    ]  # fmt: skip
    for node in nodes:
        column, row = places[node["kind"], node["name"]]
        node |= {"x": column * COLUMN, "y": round(row * ROW, 2)}
    links = [("data", ("raw", item["raw"]), ("dataset", name)) for name, item in datasets.items()]
    for name, step in steps.items():
        links.append(("data", ("dataset", step["dataset"]), ("model", name)))
        links.append(("model", ("model", step["from"]), ("model", name)))
    columns, rows = (1 + max(place[axis] for place in places.values()) for axis in (0, 1))
    return {
        "nodes": nodes,
        "edges": [edge(places[start], places[end], kind) for kind, start, end in links if start in places],
        "node_width": NODE_WIDTH,
        "node_height": NODE_HEIGHT,
        "width": columns * COLUMN - (COLUMN - NODE_WIDTH),
        "height": round(rows * ROW - (ROW - NODE_HEIGHT), 2),
    }


def node_places(datasets: dict[str, Node], steps: dict[str, Node]) -> dict[tuple[str, str], Place]:
    """{(kind, name): (column, row)} of every node."""
    row_of = {name: row for row, name in enumerate(datasets)}
    places = {}
    for raw in dict.fromkeys(item["raw"] for item in datasets.values()):
        rows = [row_of[name] for name, item in datasets.items() if item["raw"] == raw]
        places["raw", raw] = (0, sum(rows) / len(rows))
    places |= {("dataset", name): (1, row) for name, row in row_of.items()} | {("model", "base"): (1, len(datasets))}
    taken = set()
    for name, step in steps.items():
        column, row = 1 + depth(name, steps), row_of.get(step["dataset"], 0)
        while (column, row) in taken:
            row += 1
        taken.add((column, row))
        places["model", name] = (column, row)
    return places


def depth(name: str, steps: dict[str, Node]) -> int:
    """How many steps a model is from the base model."""
    chain = [name]  # params.yaml may list a step before its parent
    while (parent := steps.get(chain[-1], {}).get("from")) in steps and parent not in chain:
        chain.append(parent)
    return len(chain)


def raw_link(raw: str, datasets: dict[str, Node]) -> str:
    """The link to the first dataset that is made from some raw data."""
    return next(f"#data-{name}" for name, item in datasets.items() if item["raw"] == raw)


def edge(start: Place, end: Place, kind: str) -> dict[str, str]:
    """A curve from the right side of one node to the left side of another."""
    x1, y1 = start[0] * COLUMN + NODE_WIDTH, start[1] * ROW + NODE_HEIGHT / 2
    x2, y2 = end[0] * COLUMN, end[1] * ROW + NODE_HEIGHT / 2
    bend = min(60, (x2 - x1) / 2)
    return {"kind": kind, "path": f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"}
