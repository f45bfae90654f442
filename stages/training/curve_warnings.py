"""What the curve of a training says against it: groups that taught nothing, a preference that was not learned.

curve_warnings("dpo", {}, [{"loss": 0.72}, {"loss": 0.75}]) -> ["its loss is 0.735 in the last quarter, above 0.693, ..."]
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

MOSTLY_SILENT = 0.9  # of the groups of a training
NEARLY_NONE = 0.05  # of the rewards of answers that are right or wrong
NO_PREFERENCE = math.log(2)  # DPO's sigmoid loss where both answers are as likely as under the reference model
NOISE = 0.01  # of a loss that has not moved yet


def curve_warnings(method: str, args: Mapping[str, Any], logged: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sentences with what to do. args: the step's. logged: what transformers' Trainer logged, or the rows of its curve."""
    logged = list(logged)
    texts = [describe_silent_groups(silent_share(logged), [entry["reward"] for entry in logged if "reward" in entry])]
    if (
        method == "dpo"
        and not args.get("label_smoothing")
        and args.get("loss_type", "sigmoid") in ("sigmoid", ["sigmoid"])
    ):
        texts.append(describe_lost_preference([entry["loss"] for entry in logged if "loss" in entry]))
    return [text for text in texts if text]


def describe_silent_groups(share: float, rewards: list[float]) -> str:
    """That a training learned next to nothing, with what to do, if most of its groups earned the same; else "". rewards: means of steps."""
    if share <= MOSTLY_SILENT:
        return ""
    mean = sum(rewards) / len(rewards) if rewards else None
    advice = "easier or harder prompts, a longer sft, or a reward for the form (docs/rewards.md)"
    if mean is not None and abs(mean) <= NEARLY_NONE:
        advice = "where 0 is no marks: a stronger base, a longer sft, easier prompts, or a reward for the form (docs/rewards.md)"
    elif mean is not None and all(abs(reward - 1) <= NEARLY_NONE for reward in rewards[-len(rewards) // 4 :]):
        advice = "where 1 is full marks: harder prompts"  # a reward of one's own may go from 0 to 10
    earned = "" if mean is None else f" (the mean reward is {mean:.3f})"
    return f"in {share:.0%} of the groups all answers earned the same{earned}, so they taught nothing; {advice}"


def silent_share(logged: Iterable[Mapping[str, Any]]) -> float:
    """The share of groups whose answers all earned the same, of what transformers' Trainer logged; 0 of other methods."""
    shares = [entry["frac_reward_zero_std"] for entry in logged if "frac_reward_zero_std" in entry]
    return sum(shares) / len(shares) if shares else 0.0


def describe_lost_preference(losses: list[float]) -> str:
    """That the last quarter of DPO's losses is above that of a model that prefers neither answer; "" where it is not."""
    last = losses[-max(1, len(losses) // 4) :]
    mean = sum(last) / len(last) if last else 0.0
    if mean <= NO_PREFERENCE + NOISE:
        return ""
    return (
        f"its loss is {mean:.3f} in the last quarter, above {NO_PREFERENCE:.3f}, that of a model which prefers neither answer; "
        "a lower learning_rate, larger batches (gradient_accumulation_steps), or pairs that agree with each other"
    )
