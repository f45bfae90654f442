"""What preflight says of every row is what TRL's trainers make of it: the same rows kept, the same tokens, learned and not."""

import json

import pyarrow.parquet as pq
import pytest

from stages import _tokens as tokens
from stages._models import load_tokenizer, save_tiny
from stages._tables import row_schema, to_table
from stages._trl import make_config, training_tokenizer

LIMIT = 24
CALL = json.dumps([{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {}}}])


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny("models/base")
    return load_tokenizer()


def user(text):
    return [{"role": "user", "content": text}]


def said(text):
    return [{"role": "assistant", "content": text}]


# short rows, an answer that max_length cuts, a prompt that nearly and one that wholly fills it
PROMPTS = ["ab", "abc", "a" * (LIMIT - 4), "a" * (LIMIT - 3), "a" * LIMIT, "a" * 40, "ab"]
ANSWERS = ["xyz", "y" * 40, "x", "x", "xy", "x" * 30, "z"]
ROWS = {
    "sft": [{"messages": user(p) + said(a)} for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    + [
        {"messages": user("ab") + said("c") + user("d" * 40) + said("e")},
        {"messages": [*user("ab"), {"role": "assistant", "content": "", "tool_calls": CALL}], "tools": TOOLS},
    ],
    "dpo": [
        {"prompt": user(p), "chosen": said(a), "rejected": said(r)}
        for p, a, r in zip(PROMPTS, ANSWERS, ["q", "y" * 39 + "z", "y", "yy", "q", "q", "zz"], strict=True)
    ],
    "kto": [
        {"prompt": user(p), "completion": said(a), "label": i % 2 == 0}
        for i, (p, a) in enumerate(zip(PROMPTS, ANSWERS, strict=True))
    ],
    "grpo": [{"prompt": user(p), "ground_truth": "x", "extra": "{}"} for p in PROMPTS],
}
ROWS["orpo"] = [
    row for row in ROWS["dpo"] if len(row["prompt"][0]["content"]) < 20 and len(row["chosen"][0]["content"]) < 20
]
KIND = {"sft": "sft", "dpo": "preference", "orpo": "preference", "kto": "kto", "grpo": "grpo"}


def write(method, rows, path="data/train/d.parquet"):
    empty = dict.fromkeys(row_schema(KIND[method]).names)
    rows = [empty | row | {"id": str(i), "source": "raw.jsonl", "line": i + 1} for i, row in enumerate(rows)]
    pq.write_table(to_table(rows, row_schema(KIND[method])), path)
    return path


def step_of(method, **args):
    return {
        "step": "s", "method": method, "from": "base", "dataset": "d", "seed": 7, "backend": "transformers", "lora": None,
        "args": {"max_steps": 1, "per_device_train_batch_size": 2, **args}, "rewards": ["one_word"],
        "learns": "assistant" if args.get("assistant_only_loss", True) else "completion",
    }  # fmt: skip


def method_of(method, tokenizer, **args):
    config = make_config("steps.s", step_of(method, **args), "out")
    if method == "sft" and config.assistant_only_loss:
        training_tokenizer(tokenizer)
    return tokens.Method(method, config, tokenizer, tokens.stop_tokens(tokenizer))


def measured(method, tokenizer, rows=None, **args):
    return tokens.measured(write(method, rows or ROWS[method]), method_of(method, tokenizer, **args), "steps.s")


def trained(method, **args):
    """(tokens, learned) of each row that a real trainer is going to train on."""
    from stages import train

    trainer = train.make_trainer("s", step_of(method, **args), train.Path(".work/s"))
    out = []
    for row in trainer.train_dataset:
        if method == "sft":
            out.append((len(row["input_ids"]), sum(label != -100 for label in row["labels"])))
        elif method == "orpo":
            out.append(
                tuple(
                    sum(len([x for x in row[f"{side}_{key}"] if x != -100]) for side in ("chosen", "rejected"))
                    for key in ("input_ids", "labels")
                )
            )
        elif method == "grpo":
            out.append(
                (
                    len(
                        trainer.processing_class.apply_chat_template(row["prompt"], add_generation_prompt=True)[
                            "input_ids"
                        ]
                    ),
                    0,
                )
            )
        else:
            batch = trainer.data_collator([row])
            out.append((int(batch["attention_mask"].sum()), int(batch["completion_mask"].sum())))
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, args",
    [
        ("sft", {}),
        ("sft", {"max_length": LIMIT}),
        ("sft", {"max_length": LIMIT, "truncation_mode": "keep_end"}),
        ("sft", {"max_length": LIMIT, "assistant_only_loss": False, "completion_only_loss": True}),
        ("sft", {"max_length": None}),
        ("dpo", {}),
        ("dpo", {"max_length": LIMIT}),
        ("dpo", {"max_length": LIMIT, "truncation_mode": "keep_end"}),
        ("orpo", {}),
        ("orpo", {"max_length": LIMIT}),
        ("orpo", {"max_length": None}),
        ("kto", {}),
        ("kto", {"max_length": LIMIT}),
        ("grpo", {"num_generations": 2}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*keep_end.*")
def test_every_row_has_the_tokens_that_a_real_trainer_takes(base, tmp_path, method, args):
    (tmp_path / "data/train").mkdir(parents=True)
    found = measured(method, base, **args)
    kept = found[~found["dropped"]]
    expected = trained(method, **args)
    assert sorted(zip(kept["tokens"].tolist(), kept["learned"].tolist(), strict=True)) == sorted(expected)
    if args.get("max_length") == LIMIT and method != "orpo" and "truncation_mode" not in args:
        assert 0 < found["dropped"].sum() < len(found)
