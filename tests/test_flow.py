import itertools

from stages.reporting.flow import HEIGHT, REASONS, ROOM, flow, graph

DATASETS = {
    "chat": {"raw": "data/raw/chat", "note": ""},
    "pairs": {"raw": "data/raw/pairs", "note": ""},
    "rated": {"raw": "data/raw/pairs", "note": ""},
}
STEPS = {
    "align": {"from": "sft", "dataset": "pairs", "note": ""},  # named before the step that it starts from
    "sft": {"from": "base", "dataset": "chat", "note": ""},
    "orpo": {"from": "sft", "dataset": "pairs", "note": ""},
}


def test_every_row_is_in_a_band():
    bands = flow(80, 15, [("a.b", 4), ("a.c", 1)])["bands"]
    assert [(band["name"], band["count"]) for band in bands] == [("train", 80), ("eval", 15), ("a.b", 4), ("a.c", 1)]
    assert sum(band["share"] for band in bands) == 1
    assert bands[0]["height"] == 0.8 * HEIGHT


def test_names_do_not_overlap_however_thin_their_bands():
    bands = flow(1_000_000, 1, [(f"check{i}", 1) for i in range(5)])["bands"]
    places = [band["label_y"] for band in bands]
    assert all(later - earlier >= ROOM for earlier, later in itertools.pairwise(places[1:]))


def test_many_reasons_are_added_up_as_others():
    bands = flow(10, 0, [(f"check{i}", 20 - i) for i in range(12)])["bands"]
    assert len(bands) == 1 + REASONS
    assert bands[-1]["name"] == "8 other reasons" and bands[-1]["count"] == sum(20 - i for i in range(4, 12))


def test_rows_that_preflight_leaves_out_are_bands_of_their_own_beside_their_side():
    bands = flow(80, 15, [("a.b", 5)], [("SAID: not in sft", 3)], [("STOP: not scored", 1)])["bands"]
    counts = [("train", 77), ("SAID: not in sft", 3), ("eval", 14), ("STOP: not scored", 1), ("a.b", 5)]
    assert [(band["name"], band["count"]) for band in bands] == counts


def test_rows_that_were_not_sampled_are_a_band_of_their_own_and_no_rejects():
    bands = flow(80, 15, [("a.b", 5)], not_sampled=100)["bands"]
    assert [(band["kind"], band["count"]) for band in bands] == [
        ("train", 80),
        ("eval", 15),
        ("unsampled", 100),
        ("reject", 5),
    ]


def test_a_dataset_of_nothing_has_no_bands():
    assert flow(0, 0, [])["bands"] == []


def test_no_two_nodes_of_the_graph_are_in_one_place():
    drawn = graph(DATASETS, STEPS)
    places = [(node["x"], node["y"]) for node in drawn["nodes"]]
    assert len(places) == len(set(places)) == 2 + 3 + 1 + 3
    assert all(
        x + drawn["node_width"] <= drawn["width"] and y + drawn["node_height"] <= drawn["height"] for x, y in places
    )


def test_every_model_is_right_of_what_it_is_made_of():
    x = {node["name"]: node["x"] for node in graph(DATASETS, STEPS)["nodes"]}
    assert x["data/raw/chat"] < x["chat"] == x["base"] < x["sft"] < x["align"] == x["orpo"]


def test_there_is_an_edge_for_each_origin():
    kinds = [edge["kind"] for edge in graph(DATASETS, STEPS)["edges"]]
    assert kinds.count("data") == 3 + 3 and kinds.count("model") == 3


def test_a_step_whose_start_is_unknown_or_itself_is_drawn_all_the_same():
    steps = {"a": {"from": "b", "dataset": "chat", "note": ""}, "b": {"from": "a", "dataset": "chat", "note": ""}}
    assert len(graph(DATASETS, steps)["nodes"]) == 2 + 3 + 1 + 2
