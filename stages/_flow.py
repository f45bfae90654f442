"""The two drawings that are no charts: rows from raw to train and eval as a flow, and the graph of what is built from what.

Geometry alone, in plain numbers; stages/page/ has what it looks like. The flow is a Sankey diagram of one step: the
height of a band is its share of the rows, and each name has room however thin its band.
Source: Schmidt, The Sankey diagram in energy and material flow management (2008).
"""

HEIGHT, BAR, LEFT, RIGHT, ROOM, GAP = 240, 12, 4, 190, 22, 6
NODE_WIDTH, NODE_HEIGHT, COLUMN, ROW = 148, 46, 196, 66
REASONS = 7


def flow(train, held_out, reasons):
    """{"bands": [{path, y, height, label_y, kind, name, count, share}], "height"} of one dataset.

    reasons: [(check, count)], the most frequent first; those beyond REASONS are added up.
    """
    shown = reasons[:REASONS]
    if len(reasons) > REASONS:
        rest = reasons[REASONS - 1 :]
        shown = [*reasons[: REASONS - 1], (f"{len(rest)} other reasons", sum(count for _, count in rest))]
    parts = [("train", "train", train), ("eval", "eval", held_out), *(("reject", name, count) for name, count in shown)]
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
                "path": band(LEFT + BAR, source, RIGHT, y, thick),
                "y": round(y, 2), "height": round(thick, 2), "label_y": round(target + room / 2, 2),
                "kind": kind, "name": name, "count": count, "share": count / total,
            }
        )  # fmt: skip
        source += HEIGHT * count / total
        target += room + GAP
    return {"bands": bands, "height": round(max(target, HEIGHT + GAP), 2), "left_height": HEIGHT}


def band(x1, y1, x2, y2, thick):
    """The outline of a band that leaves at (x1, y1) and arrives at (x2, y2), as an SVG path."""
    middle = (x1 + x2) / 2
    y1, y2, low1, low2 = (round(value, 2) for value in (y1, y2, y1 + thick, y2 + thick))
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}V{low2}C{middle} {low2} {middle} {low1} {x1} {low1}Z"


def graph(datasets, steps):
    """{"nodes": [{x, y, kind, name, note, href}], "edges": [{path, kind}], "width", "height"} of what is built from what.

    datasets: {name: {kind, raw, note}}; steps: {name: {from, dataset, method, note}}. Columns: raw, datasets, base, then
    the models by how many steps they are from it.
    """
    raws = list(dict.fromkeys(dataset["raw"] for dataset in datasets.values()))
    depth = {"base": 0}
    for name in steps:  # params.yaml may name a step before the one that it starts from
        chain = [name]
        while chain[-1] != "base" and chain[-1] in steps and steps[chain[-1]]["from"] not in chain:
            chain.append(steps[chain[-1]]["from"])
        depth[name] = len(chain) - 1
    tall = max(len(raws), len(datasets), *(list(depth.values()).count(level) for level in set(depth.values())), 1)
    places = {("dataset", name): (1, spaced(i, len(datasets), tall)) for i, name in enumerate(datasets)}
    for i, raw in enumerate(raws):
        places["raw", raw] = (0, spaced(i, len(raws), tall))
    for level in sorted(set(depth.values())):
        names = [name for name in depth if depth[name] == level]
        for i, name in enumerate(names):
            places["model", name] = (2 + level, spaced(i, len(names), tall))
    nodes = [
        {"kind": "raw", "name": raw, "note": "raw data", "href": first_of(raw, datasets)} for raw in raws
    ] + [
        {"kind": "dataset", "name": name, "note": dataset["note"], "href": f"#data-{name}"}
        for name, dataset in datasets.items()
    ] + [{"kind": "model", "name": "base", "note": "base model", "href": "#scores"}] + [
        {"kind": "model", "name": name, "note": step["note"], "href": f"#step-{name}"} for name, step in steps.items()
    ]  # fmt: skip
    for node in nodes:
        column, row = places[node["kind"], node["name"]]
        node |= {"x": column * COLUMN, "y": round(row * ROW, 2)}
    edges = [edge(places["raw", dataset["raw"]], places["dataset", name], "data") for name, dataset in datasets.items()]
    for name, step in steps.items():
        for kind, origin in (("data", ("dataset", step["dataset"])), ("model", ("model", step["from"]))):
            if origin in places:
                edges.append(edge(places[origin], places["model", name], kind))
    columns = 1 + max(column for column, _ in places.values())
    return {
        "nodes": nodes, "edges": edges, "node_width": NODE_WIDTH, "node_height": NODE_HEIGHT,
        "width": columns * COLUMN - (COLUMN - NODE_WIDTH), "height": tall * ROW - (ROW - NODE_HEIGHT),
    }  # fmt: skip


def spaced(index, count, tall):
    """The row of one of `count` nodes, spread evenly over `tall` rows."""
    return (index + 0.5) * tall / count - 0.5


def first_of(raw, datasets):
    return next(f"#data-{name}" for name, dataset in datasets.items() if dataset["raw"] == raw)


def edge(start, end, kind):
    """A curve from the right of one node to the left of another."""
    x1, y1 = start[0] * COLUMN + NODE_WIDTH, start[1] * ROW + NODE_HEIGHT / 2
    x2, y2 = end[0] * COLUMN, end[1] * ROW + NODE_HEIGHT / 2
    bend = min(60, (x2 - x1) / 2)
    return {"kind": kind, "path": f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"}
