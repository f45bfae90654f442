"""A repository that began as a clone of Tilth: its user has replaced the sample by three datasets and two steps of their own."""

import json
import random
import shutil

from builds import DVC_CONFIG, write_sample
from conftest import Project, copy_code

ROWS = 40
# ten optimizer steps see some rows twice, two leave most out; a name of the sample's would hide what reads the sample
PARAMS = """# rows are exported to /home/ada/exports every night
seed: 11
launch: python
eval_fraction: 0.2
base: {model: tiny, revision: null, backend: auto}
datasets:
  letters: {kind: sft, raw: data/raw/letters.jsonl}
  taste: {kind: preference, raw: data/raw/taste}
  thumbs: {kind: kto, raw: data/raw/thumbs.jsonl}
steps:
  spell:
    method: sft
    from: base
    dataset: letters
    args: {learning_rate: 1.0e-4, max_steps: 10, per_device_train_batch_size: 4}
  prefer:
    method: dpo
    from: spell
    dataset: taste
    args: {beta: 0.1, learning_rate: 1.0e-5, max_steps: 2, per_device_train_batch_size: 4}
    waive: {length_bias: the longer answer is worse}
curate: {near_duplicates: null, ngram_words: 13, overlap_share: 0.8}
preflight: {tie_prompts: 0}
evaluate: {max_new_tokens: 4, max_rows: 6, batch_size: 6}
"""


def raw_files():
    """{path under data/raw: text}: rows of a user's, one record of each dataset that is none among them."""
    rng = random.Random(11)
    words = ["".join(rng.sample("klmnoprstuvwxyz", 6)) for _ in range(3 * ROWS)]
    spelled = {word: f"Spell {word}." for word in words}
    answers = {word: "-".join(word) for word in words}
    made = {
        "letters.jsonl": [{"prompt": spelled[word], "completion": answers[word]} for word in words[:ROWS]],
        "taste/of_ours.jsonl": [
            {"prompt": spelled[word], "chosen": answers[word], "rejected": f"It is {answers[word]}, I think."}
            for word in words[ROWS : 2 * ROWS]
        ],
        "thumbs.jsonl": [
            {"prompt": spelled[word], "completion": answers[word], "label": at % 2 == 0}
            for at, word in enumerate(words[2 * ROWS :])
        ],
    }
    return {
        path: "".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "Spell."}]) for path, rows in made.items()
    }


def own_project(folder):
    """Tilth as it comes, in which a user has then replaced params and data, and named a remote; both committed."""
    remote = folder.parent / f"{folder.name}-remote"
    remote.mkdir(parents=True)
    copy_code(folder)
    write_sample(folder)
    project = Project(folder)
    project.run("git", "init", "-q", "-b", "main")
    project.commit()
    shutil.rmtree(folder / "data/raw")
    files = {f"data/raw/{path}": text for path, text in raw_files().items()} | {
        "params.yaml": PARAMS,
        "data/benchmarks/exam.jsonl": json.dumps({"question": "Which of these words has the letter q in it, and which one has not?"}) + "\n",
        ".dvc/config": DVC_CONFIG.replace("[core]\n", "[core]\n    remote = team\n") + f"['remote \"team\"']\n    url = {remote}\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    project.commit()
    return project
