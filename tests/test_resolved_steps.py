"""A step as it will be trained: what decides its training is in it, and nothing else."""

import pytest
from builds import SAMPLE
from test_token_counts import step_of

from stages.core.stage_params import params_by_stage
from stages.dryrun.resolved_steps import make_step_config, resolve_step
from stages.training.trainer_rows import reasoning_by_dataset
from validators._preflight import LIMITS
from validators.params import Lora, fill_defaults, read_params_yaml
from validators.problems import Problems

CODES = {"exact_match": "a" * 64}
SFT = {"method": "sft", "from": "base", "dataset": "chat"}
GRPO = {"method": "grpo", "from": "base", "dataset": "problems", "rewards": ["exact_match"]}


def resolved_step(step, codes=CODES, **sections):
    """A step of the shipped params with other sections, as preflight resolves it."""
    params = fill_defaults(read_params_yaml(SAMPLE) | {"steps": {"a": step}} | sections)
    return resolve_step("a", params["steps"]["a"], params, codes)


def test_a_step_holds_the_reward_code_only_if_it_is_grpo():
    assert resolved_step(GRPO, CODES | {"one_word": "b"})["reward_code"] == CODES
    assert resolved_step(GRPO, preflight={})["tie_prompts"] == 16
    assert not {"reward_code", "tie_prompts", "waive"} & set(resolved_step(SFT | {"waive": {"beta": "no"}}))


def test_no_limit_reaches_what_train_reads():
    changed = dict.fromkeys(LIMITS, 1.0)
    assert resolved_step(SFT) == resolved_step(SFT, preflight=changed)


def test_a_step_on_a_dataset_that_masks_thoughts_says_so_and_no_model_is_scored_on_them():
    params = fill_defaults(read_params_yaml(SAMPLE) | {"steps": {"a": SFT, "b": SFT | {"from": "a"}}})
    assert resolve_step("a", params["steps"]["a"], params, CODES)["reasoning"] == "keep"
    before = params_by_stage(params)
    params["datasets"]["chat"]["reasoning"] = "mask"
    assert resolve_step("b", params["steps"]["b"], params, CODES)["reasoning"] == "mask"
    for name in ("evaluate_base", "evaluate/a", "evaluate/b"):
        assert not any("reasoning" in entry for entry in before[name]["datasets"].values())
        assert reasoning_by_dataset(params_by_stage(params)[name]["datasets"])["chat"] == "mask"
        assert reasoning_by_dataset(params_by_stage(params)[name]["datasets"])["pairs"] == "keep"
    params["datasets"]["chat"]["reasoning"] = "drop"
    assert resolve_step("b", params["steps"]["b"], params, CODES)["reasoning"] == "keep"  # the rows have none


def test_what_lora_leaves_out_is_what_params_yaml_documents():
    assert resolved_step(SFT | {"lora": {}})["lora"] == Lora().model_dump()
    assert resolved_step(SFT | {"lora": {"r": 4}})["lora"] == Lora(r=4).model_dump()
    assert resolved_step(SFT)["lora"] is None


def config(method, **args):
    return make_step_config("s", step_of(method, **args) | {"processes": args.pop("processes", 1)})


@pytest.mark.slow
def test_answers_that_do_not_fill_groups_stop_the_build():
    with pytest.raises(Problems) as error:
        config("grpo", num_generations=7)
    (problem,) = error.value.problems
    assert problem.where == "steps.s: preflight.batches"
    assert problem.found == "2 answers are sampled together (2 a batch x 1 processes x 1 batches), in groups of 7"
    assert problem.hint == "num_generations: one of 2"


@pytest.mark.slow
def test_processes_and_accumulation_fill_groups():
    step = step_of("grpo", num_generations=8, gradient_accumulation_steps=2)
    with pytest.raises(Problems):
        make_step_config("s", step | {"processes": 1})
    made = make_step_config("s", step | {"processes": 2})
    assert (made.generation_batch_size, made.num_generations) == (8, 8)


@pytest.mark.slow
def test_kto_needs_two_rows_a_batch():
    with pytest.raises(Problems, match=r"preflight\.batches: a batch of one row"):
        config("kto", per_device_train_batch_size=1)
    config("kto", per_device_train_batch_size=1, loss_type="apo_zero_unpaired")


@pytest.mark.slow
def test_packing_needs_a_length():
    with pytest.raises(Problems, match=r"preflight\.args: packing without max_length"):
        config("sft", packing=True, max_length=None)
