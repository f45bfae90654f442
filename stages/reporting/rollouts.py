"""The page's summary of the answers that a grpo step generated in training, from scores/<step>.rollouts.parquet.

rollout_summary("align") -> {"answers": 960, "groups": 120, "silent": 34, "functions": [{"name": "exact_match", "early": 0.31, "late": 0.78}],
                         "lengths": {"p50": 5, "p95": 9, "max": 16}, "cheats": [{"reward": 1.0, "said": {...}, ...}]}
"""

from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from stages.reporting.clips import clip
from stages.training.rollouts import read_rollouts, rollouts_path
from validators._answers import answer_of
from validators._truths import is_correct

Rollout = dict[str, Any]  # a row of the file
CHEATS, WIDTH = 5, 300


def rollout_summary(name: str) -> dict[str, Any] | None:
    """The summary of a step's rollouts; None where it has none."""
    path = rollouts_path(name)
    rows, facts = read_rollouts(path) if path.exists() else ([], {})
    if not rows:
        return None
    half = rows[len(rows) // 2]["step"]
    groups = [{row["reward"] for row in group} for _, group in groupby(rows, itemgetter("group"))]
    tokens = np.array([row["tokens"] for row in rows])
    return {
        "answers": len(rows),
        "groups": len(groups),
        "silent": sum(len(rewards) == 1 for rewards in groups),
        "every": facts["every"],
        "half": half,
        "functions": [
            {"name": function, "early": mean_reward(rows, function, range(half)), "late": mean_reward(rows, function, range(half, rows[-1]["step"] + 1))}
            for function in facts["functions"]
        ],
        "lengths": {f"p{share}": int(np.percentile(tokens, share)) for share in (50, 95)} | {"max": int(tokens.max())},
        "cut": describe_cuts(rows),
        "cheats": cheats(rows),
    }  # fmt: skip


def mean_reward(rows: list[Rollout], function: str, steps: range) -> str:
    """The mean reward of a function over some optimizer steps, as text; a dash where it gave none."""
    rewards = [
        row[f"reward/{function}"] for row in rows if row["step"] in steps and row[f"reward/{function}"] is not None
    ]
    return f"{sum(rewards) / len(rewards):.3f}" if rewards else "–"


def describe_cuts(rows: list[Rollout]) -> str:
    """How many answers were cut; "" where none was."""
    counts = [(sum(row["cut"] for row in rows), ""), (sum(row["cut_thinking"] for row in rows), " while thinking")]
    return ", ".join(f"{count:,} cut{where}" for count, where in counts if count)


def cheats(rows: list[Rollout]) -> list[dict[str, Any]]:
    """The wrong answers with the highest rewards, each once. An answer with the lowest reward is not one of them."""
    least = min(row["reward"] for row in rows)
    wrong = [
        row
        for row in rows
        if row["reward"] > least and not is_correct(answer_of(row["completion"]), row["ground_truth"])
    ]
    best = {}
    for row in sorted(wrong, key=lambda row: (-row["reward"], row["step"], row["group"])):
        best.setdefault(row["completion"], row)
    return [
        {"reward": f"{row['reward']:.4g}", "step": row["step"], "id": row["id"], "said": clip(row["completion"], WIDTH), "truth": clip(row["ground_truth"], WIDTH)}
        for row in list(best.values())[:CHEATS]
    ]  # fmt: skip
