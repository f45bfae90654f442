import json

import pytest
from builds import SAMPLE

from validators._cautions import WAIVERS
from validators.params import examine, read_params_yaml

SHIPPED = json.dumps(read_params_yaml(SAMPLE))


def with_steps(**steps):
    """params.yaml of the sample as data, with other steps."""
    return json.loads(SHIPPED) | {"steps": steps}


def method(name, **keys):
    """A step as params.yaml ships it for a method, with keys replaced."""
    return json.loads(SHIPPED)["methods"][name] | keys


def warnings(data):
    return [(warning.name, warning.waived) for warning in examine(data)[1]]


UNUSUAL = {
    "beta": ("dpo", {"args": {"beta": 0.9}}),
    "num_generations": ("grpo", {"args": {"num_generations": 16}}),
    "max_completion_length": ("grpo", {"args": {"max_completion_length": 16}}),
    "num_train_epochs": ("sft", {"args": {"num_train_epochs": 10}}),
    "batch_size": ("sft", {"args": {"per_device_train_batch_size": 64}}),
    "learning_rate": ("dpo", {"args": {"learning_rate": 1.0e-3}}),
    "lora_rank": ("sft", {"args": {}, "lora": {"r": 256}}),
    "no_sft": ("kto", {"args": {}, "from": "base"}),
}


def unusual(name, **keys):
    kind, step = UNUSUAL[name]
    return with_steps(sft=method("sft", args={}, waive={}), align=method(kind, **(step | keys)))


def test_every_caution_has_a_case_here():
    assert set(UNUSUAL) == set(WAIVERS)


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_value_is_a_warning_and_no_mistake(name):
    data = unusual(name, waive={})
    assert examine(data)[0] == []
    assert warnings(data) == [(name, None)]


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_warning_is_waived_by_name_and_reason(name):
    data = unusual(name, waive={name: "an experiment"})
    assert examine(data)[0] == []
    assert warnings(data) == [(name, "an experiment")]


def test_an_unknown_waiver_is_named_with_the_one_that_was_meant():
    data = with_steps(sft=method("sft"), align=method("dpo", waive={"learning_rat": "x"}))
    ((problem,), _) = examine(data)
    assert (problem.where, problem.hint) == ("params.yaml: steps.align.waive", "did you mean 'learning_rate'?")


@pytest.mark.parametrize(
    "name, low, high",
    [("sft", 1e-5, 5e-4), ("dpo", 1e-6, 5e-5), ("orpo", 1e-6, 5e-5), ("kto", 1e-6, 5e-5), ("grpo", 1e-6, 1e-5)],
)
def test_the_usual_learning_rates_include_their_ends(name, low, high):
    for rate, found in ((low, []), (high, []), (low / 2, ["learning_rate"]), (high * 2, ["learning_rate"])):
        data = with_steps(
            sft=method("sft", args={}, waive={}), align=method(name, args={"learning_rate": rate}, waive={})
        )
        assert [name for name, _ in warnings(data)] == found


@pytest.mark.parametrize("parent, expected", [("sft", []), ("orpo", []), ("dpo", ["no_sft"])])
def test_dpo_is_right_after_a_step_that_supervised(parent, expected):
    first = method(parent, args={}, waive={"no_sft": "x"} if expected else {}, **{"from": "base"})
    data = with_steps(first=first, align=method("dpo", args={}, waive={}, **{"from": "first"}))
    assert [name for name, waived in warnings(data) if waived is None] == expected


def test_a_warning_says_how_to_waive_it():
    _, (warning,) = examine(unusual("beta", waive={}))
    assert str(warning) == (
        "params.yaml: steps.align: beta 0.9 is outside the usual 0.01 to 0.5 for dpo\n"
        "  hint: waive: {beta: your reason}"
    )
