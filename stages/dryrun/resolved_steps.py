"""A step as it will be trained: everything that decides its training, and TRL's config of it.

resolve_step("align", params["steps"]["align"], params, reward_code()) -> {"step": "align", "method": "dpo", "from": "sft", ...}
"""

from collections.abc import Mapping
from typing import Any

from stages.dryrun.schedule import assume_processes, count_processes
from stages.training.trl import make_config
from stages.training.types import Config, ResolvedStep
from validators.problems import Problem, Problems


def resolve_step(
    name: str, step: Mapping[str, Any], params: Mapping[str, Any], codes: Mapping[str, str]
) -> ResolvedStep:
    """A step with everything that decides its training, and nothing else (a waiver does not).

    params: with all defaults filled in. codes: {reward function: hash of its code}.
    """
    resolved: ResolvedStep = {
        "step": name,
        "method": step["method"],
        "from": step["from"],
        "dataset": step["dataset"],
        "seed": step["args"].get("seed", params["seed"]),
        "backend": params["base"]["backend"],
        "args": step["args"],
        "lora": step["lora"],
        "load_in_4bit": step["load_in_4bit"],
        "overlong": step["overlong"],
        # `reasoning: drop` has already dropped thoughts from the rows
        "reasoning": "mask" if params["datasets"][step["dataset"]]["reasoning"] == "mask" else "keep",
        "processes": count_processes(params["launch"]),
    }
    if step["method"] == "grpo":
        resolved |= {
            "rewards": step["rewards"],
            "reward_code": {function: codes[function] for function in step["rewards"]},
            "tie_prompts": params["preflight"]["tie_prompts"],
            "rollouts": step["rollouts"],
        }
        if step["dataset"] in params.get("difficulty", {}):
            resolved["difficulty"] = (
                True  # only `train` knows which prompts are kept, so an edit of `keep` changes nothing here
            )
    return resolved


def reward_weights(step: Mapping[str, Any]) -> list[float]:
    return step["args"].get("reward_weights") or [1.0] * len(step["rewards"])


def make_step_config(name: str, step: ResolvedStep) -> Config:
    """TRL's config of a step. Raises Problems if TRL or its trainer would refuse the args."""
    where = f"steps.{name}"
    if step["method"] == "grpo":
        check_generation_groups(where, step)
    with assume_processes(step["processes"]):
        config = make_config(f"{where}: preflight.args", step, ".work/preflight")
    if step["method"] == "sft" and config.packing and config.max_length is None:
        hint = "args: {max_length: 4096}, or packing: false"
        raise Problems(
            [Problem(f"{where}: preflight.args", "packing without max_length", "the length of a packed sequence", hint)]
        )
    if step["method"] == "kto" and config.per_device_train_batch_size < 2 and config.loss_type == "kto":
        found, hint = "a batch of one row", "args: {per_device_train_batch_size: 2}, or more"
        raise Problems(
            [
                Problem(
                    f"{where}: preflight.batches",
                    found,
                    "two or more: KTO compares each answer with another row's",
                    hint,
                )
            ]
        )
    return config


def check_generation_groups(where: str, step: ResolvedStep) -> None:
    """Raise Problems if a batch of all processes does not hold whole groups: GRPO compares the answers to one prompt."""
    import trl

    defaults = trl.GRPOConfig.__dataclass_fields__
    args: dict[str, Any] = {
        key: defaults[key].default for key in ("per_device_train_batch_size", "num_generations")
    } | step["args"]
    batch, each = args["per_device_train_batch_size"], args["num_generations"]
    rounds = args.get("steps_per_generation") or args.get("gradient_accumulation_steps", 1)
    together = args.get("generation_batch_size") or batch * step["processes"] * rounds
    if together % each:
        found = f"{together} answers are sampled together ({batch} a batch x {step['processes']} processes x {rounds} batches), in groups of {each}"
        hint = f"num_generations: one of {', '.join(str(n) for n in range(2, together + 1) if together % n == 0) or 'a larger batch'}"
        raise Problems([Problem(f"{where}: preflight.batches", found, f"a multiple of {each}", hint)])
