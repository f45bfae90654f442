"""Write a large file of mixed chat rows with planted faults, and the list of the truth.

    python benchmarks/make_chat.py --rows 1000000 --out /tmp/chat      # chat.jsonl, truth.parquet

About 1.2 kB a row; ChatML, ShareGPT and Alpaca in turn. 2% of the rows are bad (eight ways), 3% are exact duplicates and
3% near-duplicates (two words of a hundred changed) of an earlier row. truth.parquet: line, planted ('' where good), of
(the line that a duplicate repeats, else 0).
"""

import argparse
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BAD = [
    "broken_json",
    "missing_key",
    "unknown_role",
    "empty_turn",
    "not_alternating",
    "no_answer",
    "wrong_type",
    "not_an_object",
]
# the check that must name each fault
EXPECTED = {
    "broken_json": "ingest.json",
    "missing_key": "ingest.missing_key",
    "unknown_role": "sft.known_roles",
    "empty_turn": "sft.non_empty_turns",
    "not_alternating": "sft.roles_alternate",
    "no_answer": "sft.ends_with_assistant",
    "wrong_type": "ingest.wrong_type",
    "not_an_object": "ingest.not_an_object",
    "duplicate": "curate.duplicate",
}


def vocabulary(rng, size=20_000):
    return ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9))) for _ in range(size)]


def conversation(rng, words):
    """Turns of one conversation, about a kilobyte of text."""
    turns = []
    for i in range(2 * rng.choice((1, 1, 1, 2))):
        count = rng.randint(20, 50) if i % 2 == 0 else rng.randint(60, 180)
        turns.append(["user" if i % 2 == 0 else "assistant", " ".join(rng.choices(words, k=count))])
    return turns


def line_of(turns, shape):
    if shape == 0 or (shape == 2 and len(turns) != 2):
        return {"messages": [{"role": role, "content": text} for role, text in turns]}
    if shape == 1:
        names = {"user": "human", "assistant": "gpt"}
        return {"conversations": [{"from": names.get(role, role), "value": text} for role, text in turns]}
    return {"instruction": turns[0][1], "input": "", "output": turns[1][1]}


def spoil(fault, turns):
    """The raw line of a conversation with one fault."""
    if fault == "broken_json":
        return json.dumps(line_of(turns, 0))[:-7]
    if fault == "missing_key":
        return json.dumps({"dialogue": "none", "text": turns[0][1]})
    if fault == "not_an_object":
        return json.dumps([turns[0][1]])
    if fault == "unknown_role":
        turns[0][0] = "narrator"
    if fault == "empty_turn":
        turns[-1][1] = "  "
    if fault == "not_alternating":
        turns.insert(0, list(turns[0]))
    if fault == "no_answer":
        turns.pop()
    if fault == "wrong_type":
        turns[-1][1] = 42
    return json.dumps(line_of(turns, 0))


def near(rng, turns, words):
    """The same conversation with two words of a hundred changed."""
    changed = []
    for role, text in turns:
        parts = text.split(" ")
        for _ in range(max(1, len(parts) // 50)):
            parts[rng.randrange(len(parts))] = rng.choice(words)
        changed.append([role, " ".join(parts)])
    return changed


def write(rows, out, seed=1):
    rng = random.Random(seed)
    words, recent = vocabulary(rng), []
    planted, of = [], []
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "chat.jsonl", "w", encoding="utf-8") as file:
        for number in range(1, rows + 1):
            chance, fault, origin = rng.random(), "", 0
            if chance < 0.02:
                fault = rng.choice(BAD)
                line = spoil(fault, conversation(rng, words))
            elif chance < 0.05 and recent:
                fault = "duplicate"
                origin, turns, shape = rng.choice(recent)
                line = json.dumps(line_of(turns, shape))
            elif chance < 0.08 and recent:
                fault = "near_duplicate"
                origin, turns, shape = rng.choice(recent)
                line = json.dumps(line_of(near(rng, turns, words), shape))
            else:
                turns, shape = conversation(rng, words), rng.randrange(3)
                line = json.dumps(line_of(turns, shape))
                if rng.random() < 0.1:
                    recent.append((number, turns, shape))
                    recent = recent[-20_000:]
            file.write(line + "\n")
            planted.append(fault)
            of.append(origin)
    table = pa.table(
        {"line": pa.array(range(1, rows + 1), pa.int64()), "planted": planted, "of": pa.array(of, pa.int64())}
    )
    pq.write_table(table, out / "truth.parquet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write(arguments.rows, arguments.out)
