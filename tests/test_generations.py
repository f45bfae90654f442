from stages.reporting.generations import score_spread, select_rows


def test_rows_where_scores_are_far_apart_come_first():
    rows = {f"{i:02}": [("a", 0.0), ("b", 1.0 if i == 7 else 0.0)] for i in range(40)}
    assert next(iter(select_rows(rows, 8))) == "07"


def test_trained_models_that_differ_come_before_a_base_that_differs_from_all():
    rows = {"a": [("x", 0.0), ("y", 1.0), ("z", 1.0)], "b": [("x", 0.0), ("y", 0.0), ("z", 1.0)]}
    assert list(select_rows(rows, 2)) == ["b", "a"]


def test_a_quarter_is_a_random_sample_and_says_so():
    rows = {f"{i:03}": [("a", 0.0), ("b", float(i >= 100))] for i in range(200)}
    chosen = select_rows(rows, 40)
    assert len(chosen) == 40 and sum(chosen.values()) == 10
    assert {row for row, random in chosen.items() if random} == {f"{i:03}" for i in range(10)}


def test_the_choice_does_not_depend_on_the_order_of_the_rows():
    rows = {f"{i:03}": [("a", float(i % 3)), ("b", 1.0)] for i in range(50)}
    assert list(select_rows(rows, 12)) == list(select_rows(dict(reversed(rows.items())), 12))


def test_one_model_alone_has_no_spread():
    assert score_spread([("a", 1.0)]) == 0
