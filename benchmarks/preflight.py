"""Rows a second that preflight measures on one core, by method, with the tokenizer of the tiny model.

    python benchmarks/preflight.py [--rows 20000]

Processor time of this process and those that it starts: each row rendered, proved, tokenized, cut and counted. A row has 300 to 380
tokens, which are bytes here.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

KINDS = {"sft": "sft", "dpo": "preference", "orpo": "preference", "kto": "kto", "grpo": "grpo"}
ANSWER_BYTES = {"sft": 200, "preference": 105, "kto": 200, "grpo": 0}
PROMPT_BYTES = {"sft": 100, "preference": 90, "kto": 100, "grpo": 310}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    count = parser.parse_args().rows
    from stages.dryrun.resolved_steps import make_step_config
    from stages.dryrun.token_counts import Method, measure_rows
    from stages.training.models import renderer, save_tiny_model
    from stages.training.trainer_rows import learned_scope

    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        save_tiny_model(Path("models/base"))
        render = renderer()
        print("| method | rows | tokens a row | rows a second |\n|---|--:|--:|--:|")
        for name, kind in KINDS.items():
            write(kind, count)
            step = {
                "step": name,
                "method": name,
                "from": "base",
                "dataset": "d",
                "seed": 7,
                "backend": "auto",
                "processes": 1,
            }
            step |= {"args": {}, "lora": None, "load_in_4bit": False, "overlong": "cut", "reasoning": "keep"}
            step |= {"rewards": ["exact_match"], "reward_code": {}, "tie_prompts": 0} if name == "grpo" else {}
            config = make_step_config(name, step)
            if name == "sft":
                learned_scope(config)
            method = Method(name, config, render, "cut", "keep")
            before = spent()
            found = measure_rows("d.parquet", method)
            seconds = spent() - before
            assert len(found.rows) == count and not found.left_out
            print(f"| {name} | {count:,} | {found.rows['tokens'].mean():.0f} | {count / seconds:,.0f} |", flush=True)


def spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def write(kind: str, count: int) -> None:
    """Rows of a kind, all different, in d.parquet."""
    from stages.rows.tables import row_schema, to_table

    rng, rows = random.Random(7), []

    def said(role: str, length: int) -> dict:
        text = " ".join(rng.choice(("soil", "rain", "harvest", "seed", "garden")) for _ in range(length // 6))
        return {"role": role, "content": text[:length], "tool_calls": None}

    for number in range(count):
        prompt, answer = [said("user", PROMPT_BYTES[kind])], [said("assistant", ANSWER_BYTES[kind])]
        row = {"id": str(number), "source": "data/raw/d.jsonl", "line": number + 1}
        row |= {
            "sft": {"messages": prompt + answer},
            "preference": {"prompt": prompt, "chosen": answer, "rejected": [said("assistant", 105)]},
            "kto": {"prompt": prompt, "completion": answer, "label": number % 2 == 0},
            "grpo": {"prompt": prompt, "ground_truth": "4", "extra": "{}"},
        }[kind]
        rows.append(row)
    pq.write_table(to_table(rows, row_schema(kind)), "d.parquet", row_group_size=10_000)


if __name__ == "__main__":
    main()
