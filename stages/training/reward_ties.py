"""Stop a GRPO training whose rewards all tie: answers to one prompt that all earn the same teach nothing, and if every
prompt is like that, hours of sampling change no weight.
"""

import contextlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from stages.rows.types import Row
from stages.training.exposure import PLACE_COLUMN
from stages.training.reward_calls import score_answers
from stages.training.types import ChatMessage, ResolvedStep, Trainer
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


def stop_if_rewards_tie(trainer: Trainer, step: ResolvedStep) -> None:
    """Sample answers to a few prompts before training. Raises Problems if no prompt has answers with different rewards.

    trainer: TRL's GRPOTrainer, ready to train, with its `thoughts`. step: `tie_prompts` is the maximum number of prompts;
    sampling ends at the first whose rewards differ. The samples depend only on the seed, and the random numbers of the
    training continue as if nothing had been sampled.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        if trainer.is_world_process_zero():
            print(f"train {step['step']}: skipped the check for tied rewards: no process has the whole model")
        return
    wanted, dataset = step.get("tie_prompts") or 0, trainer.train_dataset
    order = np.random.default_rng(step["seed"]).permutation(len(dataset))[:wanted]
    together = max(1, trainer.args.per_device_train_batch_size // trainer.args.num_generations)
    sampled = []
    with preserve_state(trainer.model, step["seed"]):
        for first in range(0, len(order), together):
            rows = [dataset[int(i)] for i in order[first : first + together]]
            rows = [{key: value for key, value in row.items() if key != PLACE_COLUMN} for row in rows]
            answers, rewards = sample_answers(trainer, rows, step)
            if any(rewards_differ(group) for group in rewards):
                return
            sampled += zip(answers, rewards, strict=True)
    if sampled:
        raise Problems([tie_problem(step, sampled)])


def sample_answers(trainer: Trainer, rows: list[Row], step: ResolvedStep) -> tuple[list[list[str]], list[np.ndarray]]:
    """(answers, rewards) for each row: `num_generations` texts, and their rewards, (generations, functions) floats."""
    each = trainer.args.num_generations
    repeated = [row for row in rows for _ in range(each)]
    answers = generate_answers(trainer, [row["prompt"] for row in repeated])
    where, names = f"steps.{step['step']}", ["a sampled prompt"] * len(repeated)
    values = score_answers(step["rewards"], repeated, answers, trainer.processing_class, where, names)
    weights = step["args"].get("reward_weights") or [1.0] * values.shape[1]
    if trainer.args.multi_objective_aggregation == "sum_then_normalize":
        values = np.nansum(values * weights, axis=1, keepdims=True)
    groups = [slice(first, first + each) for first in range(0, len(repeated), each)]
    return [answers[group] for group in groups], [values[group] for group in groups]


def generate_answers(trainer: Trainer, prompts: list[list[ChatMessage]]) -> list[str]:
    """An answer to each prompt, sampled as in training, as the text that reward functions receive."""
    import torch

    tokenizer, options = trainer.processing_class, trainer.args.chat_template_kwargs or {}
    texts = tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True, **options)
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    inputs = inputs.to(trainer.model.device)
    with torch.no_grad():
        tokens = trainer.model.generate(**inputs, generation_config=sampling_config(trainer))
    return [trainer.thoughts.text_of(row) for row in tokens[:, inputs["input_ids"].shape[1] :].tolist()]


def sampling_config(trainer: Trainer) -> "GenerationConfig":
    """The generation config of TRL's trainer; if vLLM generates for it, the same settings for the model itself."""
    from transformers import GenerationConfig

    if hasattr(trainer, "generation_config"):
        return trainer.generation_config
    args = trainer.args
    return GenerationConfig(
        max_new_tokens=args.max_completion_length, do_sample=True, temperature=args.temperature, top_p=args.top_p,
        top_k=args.top_k, min_p=args.min_p, repetition_penalty=args.repetition_penalty,
        pad_token_id=trainer.processing_class.pad_token_id, eos_token_id=trainer.processing_class.eos_token_id,
    )  # fmt: skip


def rewards_differ(values: np.ndarray) -> bool:
    """Whether the answers of a group earn different rewards. NaN, where a function does not apply, is no difference."""
    judged = [column[~np.isnan(column)] for column in values.T]
    return any(len(column) and float(np.ptp(column)) > 0 for column in judged)


def tie_problem(step: ResolvedStep, sampled: list[tuple[list[str], np.ndarray]]) -> Problem:
    """The Problem of groups that all tie, with one answer as an example."""
    answers, rewards = sampled[0]
    value, each = float(np.nan_to_num(rewards[0][0]).sum()), len(answers)
    found = f"all {each} answers to each of {len(sampled)} prompts earn the same; the first, {answers[0][:60]!r}, earns {value:g}"
    hint = "a model that never, or always, earns a reward learns nothing from it: train it with sft first, add a reward for "
    hint += "the form of an answer (one_word, or a function of yours in validators/rewards.py), take harder or easier prompts, or try more prompts: preflight.tie_prompts (0 skips this check)"
    return Problem(f"steps.{step['step']}: preflight.rewards_tie", found, "answers with different rewards", hint)


@contextlib.contextmanager
def preserve_state(model: "PreTrainedModel", seed: int) -> Iterator[None]:
    """Use random numbers from the seed in the block, then restore the state of Python, numpy and torch, and the model's mode."""
    import torch

    state, arrays, training = random.getstate(), np.random.get_state(), model.training
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            model.eval()
            yield
    finally:
        model.train(training)
        random.setstate(state)
        np.random.set_state(arrays)
