"""Processor time of what is learned of conversations beside one plain `apply_chat_template` of them.

    python benchmarks/masks.py FOLDER ...     # folders with a tokenizer of a real model and its chat template

Goal: at most 3 times, with one turn and with three, where all turns are one row and where each is a row of its own.
"""

import argparse
import random
import statistics
import time

from transformers import AutoTokenizer

from stages.training.rendering import Renderer

WORDS = [
    "the",
    "of",
    "a",
    "water",
    "garden",
    "seed",
    "soil",
    "plough",
    "harvest",
    "grows",
    "under",
    "winter",
    "rain",
    "field",
    "42",
    "café",
    "naïve",
]
STOPS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|return|>")
ROWS, PAIRS = 300, 7


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    print("| tokenizer | turns | rows for the trainer | plain, us | times |\n|---|--:|--:|--:|--:|")
    for folder in parser.parse_args().folders:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for turns in (1, 3):
            print(row(folder, tokenizer, turns), flush=True)


def row(folder, tokenizer, turns):
    rng = random.Random(7)
    talks = [talk(rng, turns) for _ in range(ROWS)]
    known = set(tokenizer.get_vocab())
    stops = {tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids([stop for stop in STOPS if stop in known])}
    render = Renderer(tokenizer, stops)
    render.conversation(talks[0])  # the template is compiled and tried once
    plain, ratios, sequences = [], [], 0
    for _ in range(PAIRS):
        begun = time.process_time()
        for each in talks:
            tokenizer.apply_chat_template(each, tokenize=True)
        between = time.process_time()
        sequences = sum(len(render.conversation(each)) for each in talks)
        plain.append((between - begun) / ROWS * 1e6)
        ratios.append((time.process_time() - between) / (between - begun))
    return f"| {folder} | {turns} | {sequences / ROWS:g} | {statistics.median(plain):.0f} | {statistics.median(ratios):.2f} |"


def talk(rng, turns):
    def say(words):
        return " ".join(rng.choice(WORDS) for _ in range(words))

    return [
        {"role": role, "content": say(words)} for _ in range(turns) for role, words in (("user", 30), ("assistant", 80))
    ]


if __name__ == "__main__":
    main()
