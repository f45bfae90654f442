"""What Unsloth is told and asked, as far as it is known without it: lengths, versions, what it has changed."""

import json
from types import SimpleNamespace

import pytest

from stages.training import unsloth_backend
from validators.problems import Problems


def config(**settings):
    return SimpleNamespace(**({"max_length": 1024, "packing": False, "bf16": False} | settings))


def step(method="sft", longest=30):
    return {"method": method, "length": {"max": longest}}


def test_the_longest_sequence_of_grpo_has_room_for_the_answer():
    assert unsloth_backend.longest_sequence(step("grpo"), config(max_completion_length=16)) == 46
    assert unsloth_backend.longest_sequence(step(), config()) == 1024
    assert unsloth_backend.longest_sequence(step(), config(max_length=None)) == 30


def test_a_max_length_beyond_the_context_leaves_the_positions_as_they_are():
    assert unsloth_backend.max_sequence_length(step(), config(), 512) == 512
    assert (
        unsloth_backend.max_sequence_length(step(), config(), 2048)
        == unsloth_backend.max_sequence_length(step(), config(), None)
        == 1024
    )


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
    problem = unsloth_backend.context_problem("sft", step(method, longest), config(**settings), 512)
    assert problem.where == "steps.sft" and "the model's context is 512" in problem.found
    assert ("max_completion_length" if method == "grpo" else "max_length: 512") in problem.hint
    assert unsloth_backend.context_problem("sft", step(method, longest), config(**settings), 2048) is None


def test_rows_within_the_context_go_on_whatever_max_length_is():
    assert unsloth_backend.context_problem("sft", step(longest=512), config(), 512) is None
    assert (
        unsloth_backend.context_problem("sft", step(longest=600), config(max_length=512), 512) is None
    )  # cut by TRL, as told


@pytest.mark.parametrize(
    ("settings", "context"),
    [({"max_position_embeddings": 64}, 64), ({"text_config": {"max_position_embeddings": 32}}, 32), ({}, None)],
)
def test_the_context_is_that_of_the_config(tmp_path, settings, context):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert unsloth_backend.context_length(tmp_path) == context


def test_a_newer_version_is_told_with_what_was_tested_and_how_to_test_it():
    assert unsloth_backend.untested_version_warning(unsloth_backend.TESTED_VERSIONS[1]) is None
    said = unsloth_backend.untested_version_warning("2027.1.1")
    assert "2027.1.1" in said and unsloth_backend.TESTED_VERSIONS[1] in said and unsloth_backend.PARITY_TEST in said


def test_the_parity_test_that_the_warning_names_is_there(request):
    words = unsloth_backend.PARITY_TEST.split()
    assert words[0] == "pytest" and (request.config.rootpath / words[-1]).is_file()


def test_an_arg_that_unsloth_has_changed_stops_the_step():
    given = {"bf16": False, "learning_rate": 1, "optim": "adamw_torch", "max_length": 2048, "lr_scheduler_kwargs": {}}
    optimizer = SimpleNamespace(value="adamw_torch_fused")
    kept = config(learning_rate=1.0, optim=optimizer, lr_scheduler_kwargs=None)
    unsloth_backend.stop_if_args_changed("sft", kept, given)
    with pytest.raises(Problems) as raised:
        unsloth_backend.stop_if_args_changed(
            "sft", config(bf16=True, packing=False, optim="x"), {"bf16": False, "packing": True}
        )
    assert [problem.where for problem in raised.value.problems] == ["steps.sft.args.bf16", "steps.sft.args.packing"]
    assert "args: {bf16: true}" in raised.value.problems[0].hint
