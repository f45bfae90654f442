"""What Unsloth is told and asked, as far as it is known without it: lengths, versions, what it has changed."""

import json
from types import SimpleNamespace

import pytest

from stages.training import by_unsloth
from validators.problems import Problems


def config(**settings):
    return SimpleNamespace(**({"max_length": 1024, "packing": False, "bf16": False} | settings))


def step(method="sft", longest=30):
    return {"method": method, "length": {"max": longest}}


def test_the_longest_sequence_of_grpo_has_room_for_the_answer():
    assert by_unsloth.longest(step("grpo"), config(max_completion_length=16)) == 46
    assert by_unsloth.longest(step(), config()) == 1024
    assert by_unsloth.longest(step(), config(max_length=None)) == 30


def test_a_max_length_beyond_the_context_leaves_the_positions_as_they_are():
    assert by_unsloth.room(step(), config(), 512) == 512
    assert by_unsloth.room(step(), config(), 2048) == by_unsloth.room(step(), config(), None) == 1024


@pytest.mark.parametrize(
    ("method", "longest", "settings"),
    [
        ("sft", 600, {}),
        ("dpo", 600, {"max_length": None}),
        ("sft", 30, {"packing": True}),  # sequences are as long as max_length
        ("grpo", 500, {"max_completion_length": 16}),
    ],
)
def test_sequences_beyond_the_context_stop_the_step(method, longest, settings):
    problem = by_unsloth.beyond_context("sft", step(method, longest), config(**settings), 512)
    assert problem.where == "steps.sft" and "the model's context is 512" in problem.found
    assert ("max_completion_length" if method == "grpo" else "max_length: 512") in problem.hint
    assert by_unsloth.beyond_context("sft", step(method, longest), config(**settings), 2048) is None


def test_rows_within_the_context_go_on_whatever_max_length_is():
    assert by_unsloth.beyond_context("sft", step(longest=512), config(), 512) is None
    assert (
        by_unsloth.beyond_context("sft", step(longest=600), config(max_length=512), 512) is None
    )  # cut by TRL, as told


@pytest.mark.parametrize(
    ("settings", "context"),
    [({"max_position_embeddings": 64}, 64), ({"text_config": {"max_position_embeddings": 32}}, 32), ({}, None)],
)
def test_the_context_is_that_of_the_config(tmp_path, settings, context):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert by_unsloth.context_of(tmp_path) == context


def test_a_newer_version_is_told_with_what_was_tested_and_how_to_test_it():
    assert by_unsloth.untested(by_unsloth.TESTED[1]) is None
    said = by_unsloth.untested("2027.1.1")
    assert "2027.1.1" in said and by_unsloth.TESTED[1] in said and by_unsloth.PARITY in said


def test_the_parity_test_that_the_warning_names_is_there(request):
    words = by_unsloth.PARITY.split()
    assert words[0] == "pytest" and (request.config.rootpath / words[-1]).is_file()


def test_an_arg_that_unsloth_has_changed_stops_the_step():
    given = {"bf16": False, "learning_rate": 1, "optim": "adamw_torch", "max_length": 2048, "lr_scheduler_kwargs": {}}
    optimizer = SimpleNamespace(value="adamw_torch_fused")
    kept = config(learning_rate=1.0, optim=optimizer, lr_scheduler_kwargs=None)
    by_unsloth.stop_if_changed("sft", kept, given)
    with pytest.raises(Problems) as raised:
        by_unsloth.stop_if_changed("sft", config(bf16=True, packing=False, optim="x"), {"bf16": False, "packing": True})
    assert [problem.where for problem in raised.value.problems] == ["steps.sft.args.bf16", "steps.sft.args.packing"]
    assert "args: {bf16: true}" in raised.value.problems[0].hint
