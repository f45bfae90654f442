"""Write the sample raw data: small text tasks whose answers can be checked.

    python tests/make_sample.py           # writes data/raw/{chat,pairs,feedback,problems}

One seed, the same bytes every time. Tests make a sample of their own of it and of `tests/sample.yaml`, so that
`params.yaml` and `data/` are whose the repository is.

Every task has two right answers, a word ("cba") and a sentence ("It is cba."). `chat` mixes the two half and
half, so supervised fine-tuning learns the tasks but no taste. `pairs`, `feedback` and `problems` prefer the right word to the
sentence and to a wrong word: that is what preference training can add to it, and length alone does not tell. About 2% of the
records are bad on purpose, each fault in `FAULTS`.
"""

import csv
import io
import json
import random
from pathlib import Path

SEED = 20261122
ROWS = {"chat": 4400, "pairs": 3800, "feedback": 3800, "problems": 3800}
GOOD_SHARE = 0.6  # of feedback that is drawn: more of it says the same, and the rows that are left are in balance
SYSTEM = "You solve small word tasks."


# -- tasks --------------------------------------------------------------------------------------------------------


def word(rng):
    """Three or four letters out of six: few enough to learn in a minute, too many to know by heart."""
    return "".join(rng.choice("abcdef") for _ in range(rng.randint(3, 4)))


def task(rng):
    """(prompt, short answer) of one random task."""
    kind = rng.choice(["reverse", "sort", "capitalise"] * 4 + ["add"])
    if kind == "add":
        a, b = rng.randint(0, 30), rng.randint(0, 9)
        return f"Add {a} and {b}.", str(a + b)
    text = word(rng)
    answer = {"reverse": text[::-1], "sort": "".join(sorted(text)), "capitalise": text.upper()}[kind]
    return f"{kind.capitalize()} {text}.", answer


def sentence(answer):
    return f"It is {answer}."


def wrong(rng, answer):
    """A wrong answer of the same kind: one character changed or two swapped."""
    if answer.isdigit():
        return str(int(answer) + rng.choice([1, 2, 10]))
    while True:
        i = rng.randrange(len(answer))
        changed = answer[:i] + rng.choice("ABCDEFGH" if answer.isupper() else "abcdef") + answer[i + 1 :]
        if changed != answer:
            return changed


def worse_answer(rng, answer):
    """The right word in a sentence, or as often a wrong word."""
    return sentence(answer) if rng.random() < 0.5 else wrong(rng, answer)


# -- good records -------------------------------------------------------------------------------------------------


def chat_turns(rng):
    """User and assistant turns in ChatML roles: one exchange, at times two, at times after a system turn."""
    turns = [{"role": "system", "content": SYSTEM}] if rng.random() < 0.1 else []
    for _ in range(2 if rng.random() < 0.1 else 1):
        prompt, answer = task(rng)
        turns.append({"role": "user", "content": prompt})
        turns.append({"role": "assistant", "content": answer if rng.random() < 0.5 else sentence(answer)})
    return turns


def alpaca_record(rng):
    prompt, answer = task(rng)
    verb, rest = prompt.split(" ", 1)
    output = answer if rng.random() < 0.5 else sentence(answer)
    if rng.random() < 0.3:
        return {"instruction": f"{verb} this.", "input": rest.rstrip("."), "output": output}
    return {"instruction": prompt, "input": "", "output": output}


def sharegpt_record(rng):
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in chat_turns(rng)]}


def pair_record(rng):
    prompt, answer = task(rng)
    worse = worse_answer(rng, answer)
    turn = lambda role, text: [{"role": role, "content": text}]  # noqa: E731
    if rng.random() < 0.3:
        return {"prompt": prompt, "chosen": answer, "rejected": worse}
    return {"prompt": turn("user", prompt), "chosen": turn("assistant", answer), "rejected": turn("assistant", worse)}


def feedback_record(rng):
    prompt, answer = task(rng)
    good = rng.random() < GOOD_SHARE
    return {"prompt": prompt, "completion": answer if good else worse_answer(rng, answer), "label": good}


def problem_record(rng):
    prompt, answer = task(rng)
    return {"prompt": prompt, "ground_truth": answer, "task": prompt.split(" ", 1)[0].lower()}


# -- bad records --------------------------------------------------------------------------------------------------
# Each takes a generator and gives one or two raw lines; the name says what is wrong with the last of them.


def bad_chat(rng, fault):
    turns = [t for t in chat_turns(rng) if t["role"] != "system"]
    line = lambda t: json.dumps({"messages": t}, ensure_ascii=False)  # noqa: E731
    if fault == "broken JSON":
        return [line(turns)[:-9]]
    if fault == "missing key":
        return [json.dumps({"dialogue": turns})]
    if fault == "empty answer":
        turns[-1]["content"] = "  "
    if fault == "unknown role":
        turns[0]["role"] = "narrator"
    if fault == "roles do not alternate":
        turns.insert(0, dict(turns[0]))
    if fault == "no answer":
        turns.pop()
    if fault == "content is a number":
        turns[-1]["content"] = 42
    if fault == "picture":
        turns[0]["content"] = [
            {"type": "image_url", "image_url": {"url": "cat.png"}},
            {"type": "text", "text": "What is it?"},
        ]
    if fault == "exact duplicate":
        return [line(turns), line(turns)]
    return [line(turns)]


def bad_pair(rng, fault):
    record = pair_record(rng)
    if fault == "chosen equals rejected":
        record["rejected"] = record["chosen"]
    if fault == "missing key":
        del record["rejected"]
    if fault == "empty answer":
        record["chosen"] = "" if isinstance(record["chosen"], str) else [{"role": "assistant", "content": ""}]
    if fault == "preferred both ways":
        swapped = record | {"chosen": record["rejected"], "rejected": record["chosen"]}
        return [json.dumps(record), json.dumps(swapped)]
    if fault == "exact duplicate":
        return [json.dumps(record)] * 2
    return [json.dumps(record)]


def bad_feedback(rng, fault):
    record = feedback_record(rng)
    if fault == "label is not a boolean":
        record["label"] = rng.choice(["good", "thumbs up", 3])
    if fault == "no label":
        record["label"] = None
    if fault == "empty answer":
        record["completion"] = ""
    if fault == "labelled both ways":
        return [json.dumps(record), json.dumps(record | {"label": not record["label"]})]
    if fault == "exact duplicate":
        return [json.dumps(record)] * 2
    return [json.dumps(record)]


def bad_problem(rng, fault):
    record = problem_record(rng)
    if fault == "no ground truth":
        del record["ground_truth"]
    if fault == "empty ground truth":
        record["ground_truth"] = " "
    if fault == "two ground truths":
        return [json.dumps(record), json.dumps(record | {"ground_truth": wrong(rng, record["ground_truth"])})]
    if fault == "exact duplicate":
        return [json.dumps(record)] * 2
    return [json.dumps(record)]


FAULTS = {
    "chat": (
        bad_chat,
        [
            "broken JSON",
            "missing key",
            "empty answer",
            "unknown role",
            "roles do not alternate",
            "no answer",
            "content is a number",
            "picture",
            "exact duplicate",
        ],
    ),
    "pairs": (
        bad_pair,
        ["chosen equals rejected", "missing key", "empty answer", "preferred both ways", "exact duplicate"],
    ),
    "feedback": (
        bad_feedback,
        ["label is not a boolean", "no label", "empty answer", "labelled both ways", "exact duplicate"],
    ),
    "problems": (bad_problem, ["no ground truth", "empty ground truth", "two ground truths", "exact duplicate"]),
}


# -- files --------------------------------------------------------------------------------------------------------


def unique(rng, make, count, seen):
    """`count` good records that no two say the same, in whatever shape: `seen` holds what was said before."""
    records = []
    while len(records) < count:
        record = make(rng)
        said = spoken(record)
        if said not in seen:
            seen.add(said)
            records.append(record)
    return records


def spoken(record):
    """What a record says, without its shape: every text in it, in order; of a preference record the prompt alone."""
    if isinstance(record, dict) and "rejected" in record:
        record = record["prompt"]
    if isinstance(record, dict):
        record = [value for key, value in record.items() if key not in ("role", "from", "task")]
    return " ".join(" ".join(spoken(part) for part in record).split()) if isinstance(record, list) else str(record)


def with_faults(rng, dataset, records, share):
    """JSON lines of the good records with bad lines strewn in, every fault of the dataset about equally often."""
    make_bad, faults = FAULTS[dataset]
    lines = [[json.dumps(record, ensure_ascii=False)] for record in records]
    for i in range(max(len(faults), round(len(records) * share))):
        lines.insert(rng.randrange(len(lines)), make_bad(rng, faults[i % len(faults)]))
    return "".join(line + "\n" for group in lines for line in group)


def sample_files(seed=SEED):
    """{path under data/raw: text} of the whole sample."""
    rng, seen = random.Random(seed), set()
    alpaca = unique(rng, alpaca_record, 1000, seen)
    table = io.StringIO()
    writer = csv.DictWriter(table, ["instruction", "input", "output"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(unique(rng, alpaca_record, 900, seen))
    writer.writerow({"instruction": "Reverse bad.", "input": "", "output": ""})
    sharegpt = unique(rng, sharegpt_record, 1200, seen)
    chatml = unique(rng, lambda r: {"messages": chat_turns(r)}, 1200, seen)
    return {
        "chat/alpaca.json": json.dumps(alpaca, indent=1, ensure_ascii=False) + "\n",
        "chat/chatml.jsonl": with_faults(rng, "chat", chatml, 0.06),
        "chat/sharegpt.jsonl": "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in sharegpt),
        "chat/table.csv": table.getvalue(),
        "pairs/pairs.jsonl": with_faults(rng, "pairs", unique(rng, pair_record, ROWS["pairs"], set()), 0.015),
        "feedback/feedback.jsonl": with_faults(
            rng, "feedback", unique(rng, feedback_record, ROWS["feedback"], set()), 0.015
        ),
        "problems/problems.jsonl": with_faults(
            rng, "problems", unique(rng, problem_record, ROWS["problems"], set()), 0.015
        ),
    }


def write(folder):
    for path, text in sample_files().items():
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write("data/raw")
