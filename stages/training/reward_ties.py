"""A look at what a GRPO training would learn from, before it learns: answers of one prompt that all earn the same teach
nothing, and where every prompt is so, hours of sampling move no weight.
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
    """Sample answers to a few prompts with the model as it starts; Problems where no prompt has answers of two rewards.

    trainer: TRL's GRPOTrainer, ready to train, with its `thoughts`. step: as preflight wrote it, with `tie_prompts`: how many prompts at most
    are looked at; it ends at the first that tells its answers apart. What is drawn depends on the seed alone, and the
    random numbers of the training go on as if nothing had been drawn.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        print(f"train {step['step']}: not looked whether rewards tie: no process has the whole model")
        return
    wanted, dataset = step.get("tie_prompts") or 0, trainer.train_dataset
    order = np.random.default_rng(step["seed"]).permutation(len(dataset))[:wanted]
    together = max(1, trainer.args.per_device_train_batch_size // trainer.args.num_generations)
    seen = []
    with preserve_state(trainer.model, step["seed"]):
        for first in range(0, len(order), together):
            rows = [dataset[int(i)] for i in order[first : first + together]]
            rows = [{key: value for key, value in row.items() if key != PLACE_COLUMN} for row in rows]
            answers, rewards = sample_answers(trainer, rows, step)
            if any(rewards_differ(group) for group in rewards):
                return
            seen += zip(answers, rewards, strict=True)
    if seen:
        raise Problems([tie_problem(step, seen)])


def sample_answers(trainer: Trainer, rows: list[Row], step: ResolvedStep) -> tuple[list[list[str]], list[np.ndarray]]:
    """(answers, rewards) of `num_generations` answers to each row: texts, and (generations, functions) floats."""
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
    """What the model says to each prompt, sampled as the training will sample, as reward functions are given it."""
    import torch

    tokenizer, options = trainer.processing_class, trainer.args.chat_template_kwargs or {}
    texts = tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True, **options)
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    inputs = inputs.to(trainer.model.device)
    with torch.no_grad():
        tokens = trainer.model.generate(**inputs, generation_config=sampling_config(trainer))
    return [trainer.thoughts.said(row) for row in tokens[:, inputs["input_ids"].shape[1] :].tolist()]


def sampling_config(trainer: Trainer) -> "GenerationConfig":
    """How TRL's trainer samples; where vLLM does it for the trainer, the same for the model itself."""
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
    """Whether the answers of a group differ in what they earn; NaN, where no function applies, is no difference."""
    judged = [column[~np.isnan(column)] for column in values.T]
    return any(len(column) and float(np.ptp(column)) > 0 for column in judged)


def tie_problem(step: ResolvedStep, seen: list[tuple[list[str], np.ndarray]]) -> Problem:
    """The Problem of groups that all tie, with an answer to look at."""
    answers, rewards = seen[0]
    value, each = float(np.nan_to_num(rewards[0][0]).sum()), len(answers)
    found = f"all {each} answers to each of {len(seen)} prompts earn the same; the first, {answers[0][:60]!r}, earns {value:g}"
    hint = "a model that never, or always, earns the reward learns nothing of it: train it with sft first, add a reward for "
    hint += (
        "the form of an answer, take harder or easier prompts, or look at more: preflight.tie_prompts (0 looks at none)"
    )
    return Problem(f"steps.{step['step']}: preflight.rewards_tie", found, "answers of different rewards", hint)


@contextlib.contextmanager
def preserve_state(model: "PreTrainedModel", seed: int) -> Iterator[None]:
    """Random numbers drawn from the seed within, and everything as it was after: Python's, numpy's, torch's, the model's mode."""
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
