import re
from xml.etree import ElementTree

from stages.reporting import charts

POINTS = [{"x": x, "y": y, "series": "loss"} for x, y in [(1, 4.0), (2, 3.0), (3, 1.0)]]
BINS = [{"low": 0, "high": 5, "count": 3, "series": "rows"}, {"low": 5, "high": 10, "count": 7, "series": "rows"}]


def test_a_chart_is_well_formed_named_and_holds_nothing_that_loads_or_runs():
    svg = charts.line_chart("a", POINTS, 'Loss of "sft" <b>')
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == 'Loss of "sft" <b>'
    assert {element.tag for element in root.iter()} <= {"svg", "g", "path", "line", "text", "rect", "defs", "clipPath"}
    assert "href" not in svg and "style" not in svg and "http" not in svg


def test_the_same_chart_has_the_same_bytes_whatever_was_drawn_before():
    first = charts.line_chart("a", POINTS, "Loss")
    charts.histogram("b", BINS, "Lengths")
    assert charts.line_chart("a", POINTS, "Loss") == first


def test_ids_begin_with_the_name_of_the_chart():
    ids = re.findall(r'id="([^"]+)"', charts.line_chart("sft-loss", POINTS, "Loss"))
    assert ids == ["sft-loss-0"]


def test_two_series_differ_in_more_than_their_colour():
    points = POINTS + [point | {"series": "other"} for point in POINTS]
    svg = charts.line_chart("a", points, "Loss")
    assert charts.FIRST in svg and charts.SECOND in svg
    assert re.search(r'stroke-dasharray="5,3"', svg)


def test_the_cut_is_drawn_where_it_is_asked_for():
    assert charts.CUT in charts.histogram("a", BINS, "Lengths", cut=8)
    assert charts.CUT not in charts.histogram("a", BINS, "Lengths")


def test_numbers_on_an_axis_are_short():
    small = charts.line_chart("a", [{"x": x, "y": y, "series": "lr"} for x, y in [(1, 0.0), (2, 2.5e-5)]], "Rate")
    assert ">0</text>" in small and ">2e-5</text>" in small
    large = charts.histogram("a", [BINS[0] | {"count": 1_200_000}], "Lengths")
    assert re.search(r">1(\.\d)?M</text>", large)
