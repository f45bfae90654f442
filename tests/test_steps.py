"""A step as it will be trained: what decides its training is in it, and nothing else."""

import pytest
from test_tokens import step_of

from stages.dryrun.steps import config_of, resolve, tokenizer_of
from stages.training.models import load_tokenizer, save_tiny
from validators import _preflight as asked
from validators.params import Lora
from validators.problems import Problems

LIMITS = asked.settings({})
CODES = {"exact_match": "a" * 64}
PARAMS = {"seed": 7, "launch": "python", "base": {"backend": "auto"}}


def test_a_step_holds_the_reward_code_only_if_it_is_grpo():
    grpo = {"method": "grpo", "from": "sft", "dataset": "problems", "rewards": ["exact_match"]}
    sft = {"method": "sft", "from": "base", "dataset": "chat", "waive": {"beta": "no"}}
    assert resolve("a", grpo, PARAMS, LIMITS, CODES | {"one_word": "b"})["reward_code"] == CODES
    assert resolve("a", grpo, PARAMS, LIMITS, CODES)["tie_prompts"] == 16
    resolved = resolve("a", sft, PARAMS, LIMITS, CODES)
    assert not {"reward_code", "tie_prompts", "waive"} & set(resolved)


def test_no_limit_reaches_what_train_reads():
    sft = {"method": "sft", "from": "base", "dataset": "chat"}
    changed = dict.fromkeys(asked.LIMITS, 0.5)
    assert resolve("a", sft, PARAMS, LIMITS, CODES) == resolve("a", sft, PARAMS, LIMITS | changed, CODES)


def test_what_lora_leaves_out_is_what_params_yaml_documents():
    step = {"method": "sft", "from": "base", "dataset": "chat"}
    assert resolve("a", step | {"lora": {}}, PARAMS, LIMITS, CODES)["lora"] == Lora().model_dump()
    assert resolve("a", step | {"lora": {"r": 4}}, PARAMS, LIMITS, CODES)["lora"] == Lora(r=4).model_dump()
    assert resolve("a", step, PARAMS, LIMITS, CODES)["lora"] is None


def config(method, **args):
    return config_of("s", step_of(method, **args) | {"processes": args.pop("processes", 1)})


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
        config_of("s", step | {"processes": 1})
    made = config_of("s", step | {"processes": 2})
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


@pytest.mark.slow
def test_a_full_model_that_sft_trained_hands_on_its_training_template(tmp_path):
    from trl.chat_template_utils import qwen3_chat_template, qwen3_training_chat_template

    save_tiny(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.chat_template = qwen3_chat_template
    steps = {
        "sft": {"method": "sft", "from": "base"},
        "dpo": {"method": "dpo", "from": "sft"},
        "orpo": {"method": "orpo", "from": "base"},
    }
    assert tokenizer_of("dpo", steps, tokenizer).chat_template == qwen3_training_chat_template
    assert tokenizer_of("orpo", steps, tokenizer).chat_template == qwen3_chat_template
    adapter = steps | {"sft": {"method": "sft", "from": "base", "lora": {"r": 4}}}
    assert tokenizer_of("dpo", adapter, tokenizer).chat_template == qwen3_chat_template
    assert tokenizer.chat_template == qwen3_chat_template
