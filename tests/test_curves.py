import pytest

from stages.reporting import curves


def test_what_is_no_finite_number_is_no_point(tmp_path):
    path = tmp_path / "sft.csv"
    path.write_text("step,loss,grad_norm\n10,1.5,nan\n20,,2\n30,inf,word\n")
    assert curves.read_curve(path) == [{"step": 10.0, "loss": 1.5}, {"step": 20.0, "grad_norm": 2.0}, {"step": 30.0}]


def test_a_curve_that_is_not_there_is_empty(tmp_path):
    assert curves.read_curve(tmp_path / "none.csv") == []
    assert curves.curve_charts("sft", []) == []


def test_a_long_curve_is_thinned_to_means_of_neighbours():
    points = [(float(x), float(x % 2)) for x in range(100_000)]
    thin = curves.downsample(points)
    assert len(thin) == curves.POINTS
    assert thin[0] == (249.5, 0.5)


def test_a_short_curve_is_kept_as_it_is():
    assert curves.downsample([(1.0, 2.0), (2.0, 3.0)]) == [(1.0, 2.0), (2.0, 3.0)]


def test_the_charts_are_those_of_what_the_method_logged():
    rows = [
        {"step": x, "loss": 1.0, "rewards/chosen": x, "rewards/rejected": -x, "learning_rate": 1e-5} for x in (1.0, 2.0)
    ]
    found = curves.curve_charts("align", rows)
    assert [chart["title"] for chart in found] == ["Loss", "Rewards of the answers", "Learning rate"]
    assert found[1]["legend"] == ["chosen", "rejected"]
    assert "chosen from 1 to 2, lowest 1, highest 2; rejected from -1 to -2" in found[1]["svg"]


@pytest.mark.parametrize(
    "step, resolved, length",
    [
        ({"method": "sft", "args": {"max_length": 99}}, None, 99),
        ({"method": "sft", "args": {"max_length": None}}, None, None),
        ({"method": "dpo"}, None, 1024),  # TRL's default, read from its source
        ({"method": "grpo", "args": {}}, None, None),
    ],
)
def test_the_cut_is_what_the_step_or_trl_says(step, resolved, length):
    assert curves.max_length(step, resolved) == length


def test_numbers_of_preflight_that_are_new_are_shown_as_well():
    shown = dict(curves.preflight_table({"rows": 5000, "length": {"p50": 9}, "processes": 2, "lora": None, "seed": 7}))
    assert shown == {"rows": "5,000", "length p50": "9", "processes": "2"}
