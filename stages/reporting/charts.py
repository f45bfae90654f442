"""Charts of the page: Vega-Lite specifications. vl-convert draws them to SVG when the page is built.

    line_chart("sft-loss", [{"x": 10, "y": 4.9, "series": "loss"}, ...], "Loss of sft: from 4.9 to 0.3") -> "<svg ...>...</svg>"

vl-convert has Vega and V8 in its wheel and needs neither network nor browser. The specifications are plain dicts: Altair
would write the same ones, with 0.8 s of import and 0.1 s of checking a chart. Sizes are fixed. No layout depends on the
width of a text, because fonts differ between machines. The colours are the light ones. style.css maps each to a variable,
so one drawing serves light, dark and print.
"""

import re
from typing import Any
from xml.etree import ElementTree

Datum = dict[str, Any]
VEGA_LITE = "6.4"
INK, GRID, FIRST, SECOND, CUT = "#5b635c", "#dedbd0", "#2b6a4d", "#a8501f", "#8c2f39"
WIDTH, HEIGHT = 300, 110
PADDING = {"left": 46, "right": 12, "top": 8, "bottom": 40}
AXIS = {
    "labelColor": INK, "titleColor": INK, "titleFontWeight": "normal", "labelFontSize": 13, "titleFontSize": 13,
    "gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "tickSize": 4, "tickCount": 4, "labelOverlap": False,
    "labelBound": False, "labelFlush": False, "titlePadding": 6,
}  # fmt: skip
# Vega's expression for a number in few digits: d3's own formats write `0e+0` and `0.2k`
LABEL_EXPRESSION = (
    "datum.value == 0 ? '0' : abs(datum.value) < 0.001 ? format(datum.value, '~e') : "
    "abs(datum.value) < 1 ? format(datum.value, '~g') : format(datum.value, abs(datum.value) >= 1e5 ? '~s' : ',~g')"
)
KEPT_ATTRIBUTES = {"d", "x", "y", "x2", "y2", "width", "height", "fill", "stroke", "stroke-width", "stroke-dasharray", "transform",
        "text-anchor", "font-size", "fill-opacity", "opacity", "clip-path", "id", "r"}  # fmt: skip


def line_chart(ident: str, points: list[Datum], label: str, x_title: str = "optimizer step") -> str:
    """One line per series over `x`: the first solid, the second dashed. points: [{x, y, series}], in the order of the series."""
    series = list(dict.fromkeys(point["series"] for point in points))
    scale = {"domain": series, "range": [FIRST, SECOND][: len(series)]}
    dashes = {"domain": series, "range": [[1, 0], [5, 3]][: len(series)]}
    return draw(
        ident,
        label,
        points,
        {
            "mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
            "encoding": {
                "x": {"field": "x", "type": "quantitative", "title": x_title, "scale": {"nice": False}},
                "y": {
                    "field": "y", "type": "quantitative", "title": None, "scale": {"zero": False},
                    "axis": {"labelExpr": LABEL_EXPRESSION},
                },
                "color": {"field": "series", "type": "nominal", "scale": scale, "legend": None},
                "strokeDash": {"field": "series", "type": "nominal", "scale": dashes, "legend": None},
            },
        },
    )  # fmt: skip


def histogram(ident: str, bins: list[Datum], label: str, cut: float | None = None, x_title: str = "characters") -> str:
    """Bars of counts. `cut` marks a place on the x axis. bins: [{low, high, count, series}]; a second series becomes a line."""
    first = bins[0]["series"]
    encoding = {
        "x": {"field": "low", "type": "quantitative", "title": x_title, "scale": {"nice": False, "zero": True}, "axis": {"grid": False}},
        "y": {"field": "count", "type": "quantitative", "title": None, "axis": {"labelExpr": LABEL_EXPRESSION}},
    }  # fmt: skip
    layers = [
        {
            "transform": [{"filter": {"field": "series", "equal": first}}],
            "mark": {"type": "bar", "color": FIRST, "fillOpacity": 0.75, "binSpacing": 1},
            "encoding": encoding | {"x": encoding["x"] | {"bin": "binned"}, "x2": {"field": "high"}},
        }
    ]
    if any(item["series"] != first for item in bins):
        layers.append(
            {
                "transform": [{"filter": {"not": {"field": "series", "equal": first}}}],
                "mark": {"type": "line", "interpolate": "step-after", "color": SECOND, "strokeWidth": 1.8},
                "encoding": encoding,
            }
        )
    if cut is not None:
        rule = {"type": "rule", "color": CUT, "strokeWidth": 2, "strokeDash": [4, 3]}
        layers.append(
            {
                "data": {"values": [{"cut": cut}]},
                "mark": rule,
                "encoding": {"x": {"field": "cut", "type": "quantitative"}},
            }
        )
    return draw(ident, label, bins, {"layer": layers})


def bar_chart(ident: str, bins: list[Datum], label: str, x_title: str) -> str:
    """Bars of counts in the colours of two series. bins: [{low, high, count, series}], with `kept` and `not kept`."""
    scale = {"domain": ["kept", "not kept"], "range": [FIRST, SECOND]}
    spec = {
        "mark": {"type": "bar", "fillOpacity": 0.75},
        "encoding": {
            "x": {
                "field": "low", "type": "quantitative", "bin": "binned", "title": x_title,
                "scale": {"nice": False, "zero": False}, "axis": {"grid": False, "tickMinStep": 1},
            },
            "x2": {"field": "high"},
            "y": {"field": "count", "type": "quantitative", "title": None, "axis": {"labelExpr": LABEL_EXPRESSION}},
            "color": {"field": "series", "type": "nominal", "scale": scale, "legend": None},
        },
    }  # fmt: skip
    return draw(ident, label, bins, spec)


def draw(ident: str, label: str, values: list[Datum], spec: dict[str, Any]) -> str:
    """A specification as inline SVG. Its ids begin with `ident`; a screen reader reads `label`."""
    import vl_convert

    full_spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": WIDTH, "height": HEIGHT, "autosize": "none", "padding": PADDING,
        "data": {"values": values},
        "config": {"aria": False, "axis": AXIS, "view": {"stroke": None}, "background": None},
    } | spec  # fmt: skip
    return tidy_svg(vl_convert.vegalite_to_svg(full_spec, vl_version=VEGA_LITE), ident, label)


def tidy_svg(svg: str, ident: str, label: str) -> str:
    """Vega's SVG with its visible elements alone: no roles, no empty paths, and ids that are unique on the page."""
    root = ElementTree.fromstring(svg)
    ids = {}
    for element in root.iter():
        if "id" in element.attrib:  # Vega numbers them over all charts of a process
            ids[element.attrib["id"]] = f"{ident}-{len(ids)}"
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        for child in list(parent):
            if child.get("display") == "none" or (child.get("class") == "background" and not child.get("stroke")):
                parent.remove(child)
        parent.attrib = {
            key: shorten_attribute(value, ids) for key, value in parent.attrib.items() if key in KEPT_ATTRIBUTES
        }
    width, height = WIDTH + PADDING["left"] + PADDING["right"], HEIGHT + PADDING["top"] + PADDING["bottom"]
    root.attrib = {
        "class": "chart", "role": "img", "aria-label": label, "viewBox": f"0 0 {width} {height}",
        "width": str(width), "height": str(height),
    }  # fmt: skip
    return ElementTree.tostring(root, encoding="unicode")


def shorten_attribute(value: str, ids: dict[str, str]) -> str:
    """An attribute with its numbers to two decimals, and its ids renamed."""
    if value in ids:
        return ids[value]
    if reference := re.fullmatch(r"url\(#(.+)\)", value):
        return f"url(#{ids[reference[1]]})"
    return re.sub(r"-?\d+\.\d{2,}(?:e-?\d+)?", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
