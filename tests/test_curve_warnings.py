"""A training whose curve speaks against it is told of, with what to do."""

import pytest

from stages.training.curve_warnings import curve_warnings


def losses(*values):
    return [{"loss": value} for value in values] + [{"train_loss": 0.1}]


@pytest.mark.parametrize(
    ("method", "args", "logged", "words"),
    [
        ("dpo", {}, losses(0.69, 0.7, 0.8, 0.75), "its loss is 0.750 in the last quarter, above 0.693"),
        ("dpo", {"loss_type": ["sigmoid"]}, losses(0.9), "its loss is 0.900"),
        ("dpo", {}, losses(0.9, 0.9, 0.8, 0.65), ""),
        ("dpo", {}, losses(0.6931, 0.6969), ""),
        ("dpo", {"loss_type": "ipo"}, losses(9.0), ""),
        ("dpo", {"label_smoothing": 0.1}, losses(0.9), ""),
        ("orpo", {}, losses(2.0), ""),
        ("dpo", {}, [], ""),
        ("grpo", {}, [{"loss": 0.0, "frac_reward_zero_std": 1.0}] * 2, "in 100% of the groups all answers earned the same"),
        ("grpo", {}, [{"loss": 0.0, "frac_reward_zero_std": share} for share in (1.0, 0.5)], ""),
    ],
)  # fmt: skip
def test_a_curve_that_says_nothing_was_learned_is_told_of(method, args, logged, words):
    found = curve_warnings(method, args, logged)
    assert len(found) == bool(words) and all(text.startswith(words) for text in found)


@pytest.mark.parametrize(
    ("rewards", "advice"),
    [([0.0, 0.0, 0.02], "(the mean reward is 0.007), so they taught nothing; where 0 is no marks: a stronger base"),
     ([0.9, 1.0, 1.0, 1.0], "(the mean reward is 0.975), so they taught nothing; where 1 is full marks: harder prompts"),
     ([4.0, 8.0], "easier or harder prompts"), ([-1.0, -1.0], "easier or harder prompts"),
     ([0.5, 0.4], "easier or harder prompts"), ([], "earned the same, so they taught nothing; easier or harder prompts")],
)  # fmt: skip
def test_where_all_answers_earn_the_same_what_they_earn_says_what_to_do(rewards, advice):
    logged = [{"frac_reward_zero_std": 1.0}, *({"reward": reward} for reward in rewards)]
    assert advice in curve_warnings("grpo", {}, logged)[0]
