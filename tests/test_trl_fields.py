import json

import pytest
from builds import SAMPLE

from validators._cautions import KIND_OF_METHOD
from validators._trl_fields import _package_folder, fits_annotation, trl_fields
from validators.params import TILTH_SETS, examine, read_params_yaml

SHIPPED = json.dumps(read_params_yaml(SAMPLE))


def mistakes(name, **args):
    """(arg, hint) of every problem with the args of a step of the named method."""
    data = json.loads(SHIPPED)
    data["steps"] = {"sft": data["methods"]["sft"], "align": data["methods"][name] | {"args": args}}
    problems, _ = examine(data)
    assert all(problem.where.startswith("params.yaml: steps.align.args.") for problem in problems)
    return [(problem.where.rpartition(".")[2], problem.hint) for problem in problems]


@pytest.mark.parametrize("name", KIND_OF_METHOD)
def test_an_arg_that_trl_does_not_have_is_named_with_the_one_that_was_meant(name):
    assert mistakes(name, learning_rte=1.0e-5) == [("learning_rte", "did you mean 'learning_rate'?")]


def test_an_arg_like_no_other_points_to_the_documentation():
    ((key, hint),) = mistakes("dpo", zzzz=1)
    assert key == "zzzz"
    assert hint.startswith("TRL's documentation")


def test_an_arg_of_another_method_is_unknown():
    assert mistakes("grpo", num_generations=8) == []
    assert [key for key, _ in mistakes("sft", num_generations=8)] == ["num_generations"]


@pytest.mark.parametrize("name", KIND_OF_METHOD)
@pytest.mark.parametrize(
    "key, value",
    [
        ("learning_rate", "1e-4"),
        ("learning_rate", True),
        ("learning_rate", None),
        ("max_steps", 1.5),
        ("max_steps", True),
        ("bf16", "yes"),
        ("max_grad_norm", [1]),
    ],
)
def test_an_arg_of_a_wrong_type_is_named(name, key, value):
    assert [key for key, _ in mistakes(name, **{key: value})] == [key]


def test_a_number_in_quotes_is_explained():
    assert mistakes("dpo", learning_rate="1e-4") == [
        ("learning_rate", "in YAML 1.2, 1e-4 is a number and '1e-4' a text")
    ]


@pytest.mark.parametrize("key", TILTH_SETS)
def test_an_arg_that_tilth_sets_itself_is_named(key):
    assert mistakes("dpo", **{key: "x"}) == [(key, "remove it")]


def test_the_fields_of_trl_are_those_of_the_config_and_of_what_it_inherits():
    assert trl_fields("dpo")["beta"] == "float"
    assert trl_fields("grpo")["num_generations"] == "int | None"
    assert trl_fields("sft")["per_device_train_batch_size"] == "int"
    assert "num_generations" not in trl_fields("dpo")


@pytest.mark.parametrize(
    "value, annotation, right",
    [
        (1, "int", True),
        (1, "float", True),
        (1.0, "int", False),
        (True, "int", False),
        (True, "float", False),
        (True, "bool", True),
        (1, "bool", False),
        ("x", "str", True),
        (None, "str", False),
        (None, "float | None", True),
        ("1", "float | None", False),
        ([1], "list[float] | None", True),
        ({}, "dict[str, Any] | str | None", True),
        (5, "SchedulerType | str", True),
    ],
)
def test_only_what_a_type_excludes_for_certain_does_not_fit(value, annotation, right):
    assert fits_annotation(value, annotation) == right


def test_a_package_that_is_not_installed_is_named():
    assert (_package_folder("trl") / "trainer").is_dir()
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        _package_folder("no_such_package")
