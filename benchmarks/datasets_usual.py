"""The job of data.py as most people write it with HF `datasets`: load, map, filter, select, to_parquet."""

import hashlib
import json
import sys
from pathlib import Path

from datasets import load_dataset

SEED, EVAL_FRACTION = 7, 0.05
ROLES = {"human": "user", "gpt": "assistant"}
AFTER = {None: ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}


def conversation(line):
    """The messages of a raw line, or None where it is bad."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    if "messages" in record:
        turns = [(turn["role"], turn["content"]) for turn in record["messages"]]
    elif "conversations" in record:
        turns = [(ROLES.get(turn["from"], turn["from"]), turn["value"]) for turn in record["conversations"]]
    elif "instruction" in record:
        asked = record["instruction"] + ("\n" + record["input"] if record["input"] else "")
        turns = [("user", asked), ("assistant", record["output"])]
    else:
        return None
    before = None
    for role, content in turns:
        if role not in AFTER[before] or not isinstance(content, str) or not content.strip():
            return None
        before = role
    return [{"role": role, "content": content} for role, content in turns] if before == "assistant" else None


def identity(messages):
    text = json.dumps({"kind": "sft", "messages": messages, "tools": None}, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def in_eval(messages):
    asked = next(turn["content"] for turn in messages if turn["role"] == "user")
    key = hashlib.sha256(" ".join(asked.casefold().split()).encode()).hexdigest()
    return int(hashlib.sha256(f"{SEED}:{key}".encode()).hexdigest()[:8], 16) / 2**32 < EVAL_FRACTION


def parse(batch, numbers):
    parsed = [conversation(line) for line in batch["text"]]
    return {
        "messages": [messages or [] for messages in parsed],
        "good": [messages is not None for messages in parsed],
        "id": [identity(messages) if messages else "" for messages in parsed],
        "eval": [bool(messages) and in_eval(messages) for messages in parsed],
        "line": [number + 1 for number in numbers],
    }


def main(path, processes):
    rows = load_dataset("text", data_files=path, split="train")
    rows = rows.map(parse, batched=True, with_indices=True, num_proc=processes, remove_columns=["text"])
    rows = rows.filter(lambda batch: batch["good"], batched=True, num_proc=processes)
    seen, first = set(), []
    for number, name in enumerate(rows["id"]):
        if name not in seen:
            seen.add(name)
            first.append(number)
    rows = rows.select(first).remove_columns(["good"])
    for side in ("train", "eval"):
        part = rows.filter(
            lambda batch, side=side: [found == (side == "eval") for found in batch["eval"]],
            batched=True,
            num_proc=processes,
        )
        Path("data", side).mkdir(parents=True, exist_ok=True)
        part.to_parquet(f"data/{side}/chat.parquet")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
