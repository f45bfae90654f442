"""The checks of preflight, which run before a step trains, in one line each.

A check stops the build. A gate stops it too where its number is above its limit, unless the step waives it. A warning
is printed where its number is above its limit. Limits are set under `preflight:` in params.yaml by the names here. A step
waives a gate or a warning by the same name: `waive: {truncated_share: the long ones are logs, their ends say nothing}`.
"""

from typing import Any

CHECKS = {
    "preflight.args": "TRL takes the step's args",
    "preflight.batches": "grpo: batch x processes x accumulation is divisible by `num_generations`; kto: a batch has two rows",
    "preflight.both_labels": "kto: rows of both labels are trained",
    "preflight.double_bos": "no row begins with the token of beginnings twice",
    "preflight.embedding": "the model's embedding has a row for every token of the tokenizer",
    "preflight.optimizer_steps": "the rows make at least one optimizer step",
    "preflight.overlong": "with `overlong: stop`, no row is longer than `max_length`",
    "preflight.reward_runs": "grpo: a reward function raises nothing and returns one finite number or None an answer",
    "preflight.rewards_tie": "grpo, as `train` begins: of `tie_prompts` prompts at least one has answers of different rewards",
    "preflight.rows_left": "a row is left to train",
}
GATES = {
    "preflight.dropped_share": "share of rows that are not trained: without proof, or with nothing to learn within `max_length`",
    "preflight.reward_hostile": "grpo: how many kinds of hostile answers a function that asks what is right gives no less than the ground truth",
    "preflight.reward_order": "grpo: by how much a wrong answer earns more than the ground truth, on average",
}
WARNINGS = {
    "preflight.answers_cut": "sft, grpo: share of eval rows whose reference answer has more tokens than `evaluate.max_new_tokens`, so that no model can give it",
    "preflight.bos_unlike_inference": "share of rows that do not begin with the tokens that the tokenizer puts before a text by itself, as llama.cpp and completions without a template do",
    "preflight.class_balance": "kto: how far the weighted rows of one label outweigh the other's; up to 1 is TRL's advice",
    "preflight.context_share": "share of rows, of train or of eval, longer than the positions that the model was made for",
    "preflight.date_dependent": "1 where the chat template prints the date: `base.date` in every row, score and chat, today's in other software",
    "preflight.equal_pairs_share": "dpo, orpo: share of pairs whose two answers are the same tokens once truncated",
    "preflight.length_bias": "dpo, orpo: share of pairs in which the same side is the longer one, in tokens",
    "preflight.memory_gb": "estimated peak on a GPU in GB, where `memory_gb` says how much there is",
    "preflight.packing": "sft: 1 where rows are packed, which models without Flash Attention may let attend to each other",
    "preflight.reward_random": "grpo: 1 where a function gives the same answers other rewards the second time",
    "preflight.reward_truth": "grpo: share of ground truths that a function gives less than its best",
    "preflight.reward_wrong": "grpo: share of wrong answers that a function gives no less than the ground truth",
    "preflight.said": "share of rows left out by the proof SAID: something that a message holds is not learned",
    "preflight.special_in_content": "share of rows that say a control token of the tokenizer in a turn",
    "preflight.stops": "share of rows left out by the proof STOP: no token that ends an answer is learned",
    "preflight.tokenizer_round_trip": "share of rows whose tokens do not give back their text, up to what the tokenizer's normaliser changes",
    "preflight.tools_shown": "share of rows left out by the proof TOOLS: the template does not show their tools",
    "preflight.truncated_share": "share of rows that `max_length` cuts",
    "preflight.truth_cut": "grpo: share of ground truths with more tokens than `max_completion_length`",
}
LIMITS: dict[str, Any] = {  # floats; None, only for memory_gb, is no limit
    "dropped_share": 0.05,  # allows a few rows without an answer; what a template cannot render is missing in all rows
    "reward_hostile": 0.0,
    "reward_order": 0.0,
    "answers_cut": 0.05,
    "bos_unlike_inference": 0.0,
    "class_balance": 1.0,
    "context_share": 0.0,
    "date_dependent": 0.0,
    "equal_pairs_share": 0.0,
    "length_bias": 0.65,
    "memory_gb": None,
    "packing": 0.0,
    "reward_random": 0.0,
    "reward_truth": 0.01,
    "reward_wrong": 0.05,
    "said": 0.0,
    "special_in_content": 0.0,
    "stops": 0.0,
    "tokenizer_round_trip": 0.0,
    "tools_shown": 0.0,
    "truncated_share": 0.05,
    "truth_cut": 0.0,
}
SAMPLE_SIZES = {"reward_rows": 1000, "tie_prompts": 16}
WAIVABLE = [name.removeprefix("preflight.") for name in {**GATES, **WARNINGS}]


def checks_table() -> str:
    """The checks as a Markdown table, for docs/preflight.md."""
    rows = [f"| `{name}` | {text} | stops |  |" for name, text in CHECKS.items()]
    for checks, what in ((GATES, "stops unless waived"), (WARNINGS, "warns")):
        rows += [f"| `{name}` | {text} | {what} | {limit_text(name)} |" for name, text in checks.items()]
    return "\n".join(["| check | what it asks or measures | above the limit | limit |", "|---|---|---|--:|", *rows])


def limit_text(name: str) -> str:
    """The limit of a check as text."""
    limit = LIMITS[name.removeprefix("preflight.")]
    return "none" if limit is None else f"{limit:g}"
