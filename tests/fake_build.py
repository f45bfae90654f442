"""What a build of one SFT and one GRPO step would leave, without building it: small, and full of awkward text."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
from builds import write_params, write_seen

from stages.rows.tables import REJECTS, row_schema, to_table
from stages.training.rollouts import rollout_schema

SCRIPT = "<script>document.title = 'owned'; fetch('https://example.org/')</script><img src=x onerror=\"document.title='owned'\">"
HEBREW, ARABIC, EMOJI = "שלום עולם", "مرحبا بالعالم", "👩🏽‍🚀🏳️‍🌈"
LONG = "x" * 100_000
CONTROL = "bell\x07 null\x00 \u202eturned"
QUESTIONS = ["What is 1 + 1?", SCRIPT, HEBREW, ARABIC, EMOJI, LONG, CONTROL, "an ordinary question"]
LEFT_OUT = ["SAID", "LENGTH", "SAID"]  # of the first train rows of chat; the first eval row is left out too
PARAMS = {
    "seed": 7,
    "launch": "python",
    "eval_fraction": 0.5,
    "base": {"model": "tiny", "revision": None, "backend": "auto"},
    "datasets": {
        "chat": {"kind": "sft", "raw": "data/raw/chat"},
        "pairs": {"kind": "preference", "raw": "data/raw/pairs"},
        "feedback": {"kind": "kto", "raw": "data/raw/feedback"},
        "problems": {"kind": "grpo", "raw": "data/raw/problems"},
    },
    "steps": {
        "sft": {"method": "sft", "from": "base", "dataset": "chat", "args": {"learning_rate": 0.003}, "waive": {"learning_rate": SCRIPT}},
        "align": {"method": "grpo", "from": "sft", "dataset": "problems", "rewards": ["exact_match"], "args": {"max_completion_length": 256}},
    },
}  # fmt: skip


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


def rows_of(kind, side):
    made = []
    for number, text in enumerate(QUESTIONS):
        origin = {"id": f"{side}{number}", "source": f"data/raw/{kind}/<b>{number % 2}</b>.jsonl", "line": number + 1}
        made.append(
            origin
            | {
                "sft": {"messages": user(text) + assistant(text[::-1]), "tools": None},
                "preference": {"prompt": user(text), "chosen": assistant("yes"), "rejected": assistant("no, " + text)},
                "kto": {"prompt": user(text), "completion": assistant("yes"), "label": number % 2 == 0},
                "grpo": {"prompt": user(text), "ground_truth": "2", "extra": "{}"},
            }[kind]
        )
    return made


def write_rollouts(folder):
    """What align said in training: of each question a right answer, and an awkward one that is paid for."""
    facts = {"step": "align", "dataset": "problems", "rows_sha256": "0" * 64, "every": 10, "functions": ["exact_match"]}
    rows = [
        {
            "step": number * 10, "group": number, "id": f"train{number}", "completion": said, "tokens": min(len(said), 256),
            "cut": text == LONG and said == LONG, "cut_thinking": text == EMOJI and said == EMOJI,
            "ground_truth": "2", "reward/exact_match": paid, "reward": paid, "advantage": 0.0,
        }
        for number, text in enumerate(QUESTIONS)
        for said, paid in (("2", 1.0), (text, 1.0 if text in (SCRIPT, LONG, CONTROL) else 0.0))
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, rollout_schema(["exact_match"])).replace_schema_metadata(
        {"tilth": json.dumps(facts)}
    )
    write(folder / "scores/align.rollouts.parquet", table)


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def dump(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def fake_build(folder):
    """Write all that the report reads into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_params(PARAMS, folder)
    for name, dataset in PARAMS["datasets"].items():
        for side in ("train", "eval"):
            write(
                folder / f"data/{side}/{name}.parquet",
                to_table(rows_of(dataset["kind"], side), row_schema(dataset["kind"])),
            )
        refused = [
            {
                "id": None, "source": f"data/raw/{name}/<i>bad</i>.jsonl", "line": number, "stage": "ingest",
                "check": f"ingest.check_{number % 9}", "detail": SCRIPT, "raw": QUESTIONS[number % len(QUESTIONS)],
            }
            for number in range(40)
        ]  # fmt: skip
        write(folder / f"data/rejected/{name}.parquet", to_table(refused, REJECTS))
    for side in ("train", "eval"):
        kinds = {
            name: {"kind": item["kind"], "rows": 8, "sha256": "5" * 64} for name, item in PARAMS["datasets"].items()
        }
        dump(folder / f"data/{side}.json", kinds)
    for name, step in PARAMS["steps"].items():
        kept = {key: step[key] for key in ("method", "from", "dataset", "args")}
        counts = {
            "rows": 8,
            "trained_rows": 8 - (len(LEFT_OUT) if name == "sft" else 0),
            "tokens": 400,
            "learned_tokens": 90,
            "optimizer_steps": 20,
            "lora": None,
        }
        dump(
            folder / f"preflight/{name}.json",
            {"step": name} | kept | counts | {"length": {"p50": 9, "p95": 30, "max": 2000}},
        )
        curve = ["step,epoch,loss,grad_norm,learning_rate,reward,num_tokens"]
        curve += [
            f"{at},{at / 20},{4 / at},{1.5 if at < 20 else 'nan'},{1e-5 * at},{at / 20},{at * 50}"
            for at in (5, 10, 15, 20)
        ]
        write_seen(name, [2, 2, 1, 0, 0, 0, 0, 0], folder, tokens=12_345)
        (folder / f"scores/{name}.csv").write_text("\n".join(curve) + "\n", encoding="utf-8")
    write_rollouts(folder)
    finding = {
        "check": "preflight.truncated_share",
        "value": 0.25,
        "limit": 0.05,
        "level": "warning",
        "message": SCRIPT,
    }
    dump(
        folder / "preflight/_findings.json",
        {"sft": [finding], "align": [], "_eval": {"chat": [finding | {"check": "preflight.said", "level": "ok"}]}},
    )
    dump(folder / "preflight/_xray.json", {"sft": [xray_of("first", 12), xray_of("longest", 900)]})
    left_out = {"_dropped": ("step", "sft", "train", LEFT_OUT), "_unscored": ("dataset", "chat", "eval", LEFT_OUT[:1])}
    for name, (key, subject, side, proofs) in left_out.items():
        with open(folder / f"preflight/{name}.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([key, "row", "id", "proof", "reason"])
            for number, proof in enumerate(proofs):
                place = f"data/raw/sft/<b>{number % 2}</b>.jsonl:{number + 1}"
                table.writerow([subject, place, f"{side}{number}", proof, f"{proof}: {SCRIPT}"])
    dump(folder / "preflight/_rewards.json", {"problems": {"exact_match": {"weight": 1.0, "code": "a1"}}})
    for number, model in enumerate(("base", *PARAMS["steps"])):
        write_scores(folder, model, number)
    dump(folder / "gates.json", GATES)
    return folder


def gate(passes, **more):
    return {
        "step": "align", "on": "chat", "metric": "exact_match", "rule": "at least 0.5", "passes": passes,
        "found": "0.500 (0.450 to 0.550)", "missing": "", "waived": None,
    } | more  # fmt: skip


GATES = {
    "ship": False,
    "gates": {
        "one": gate(True),
        "two": gate(
            False, rule="no worse than sft by more than 0.01", missing="+0.050, and no interval: n 8: too few rows"
        ),
        "three": gate(False, step="sft", waived=f"a first try {SCRIPT}"),
    },
}


def xray_of(which, length):
    """A row as preflight shows it: a control token, words of context, words that are learned, one that is cut."""
    texts = ["<|user|>", SCRIPT, HEBREW, "\n", CONTROL, "", *(f" word{at}" for at in range(6, min(length, 200)))]
    kinds = ["context"] * 8 + ["learned"] * (len(texts) - 9) + ["cut"]
    made = [
        {"id": 40_000 + at, "text": text, "kind": kind, "special": not at}
        for at, (text, kind) in enumerate(zip(texts, kinds, strict=True))
    ]
    counts = {"context": 8, "learned": length - 9, "cut": 1}
    part = {"name": "conversation", "counts": counts, "tokens": made, "left_out": length - len(texts)}
    return {"row": "data/raw/<b>.jsonl:1", "which": which, "parts": [part], "more_parts": 0}


def slices_of(item, number):
    """Slices by file and by a key, one of which is clearly the worst, with awkward names, few rows, the rest and rows without a value."""
    few = {"low": None, "high": None, "change_low": None, "change_high": None, "n": 8}
    found = [
        {"by": "file", "slice": f"data/raw/sft/<b>{at}</b>.jsonl"} | item(0.3 * number, 0.2, 0.1, 0.3) | {"n": 400}
        for at in range(2)
    ]
    for at, name in enumerate(
        ["en", SCRIPT, HEBREW, "a topic of many words that is as long as a sentence is, and has no end", "x" * 300]
    ):
        found.append(
            {"by": "meta.topic", "slice": name}
            | item(0.1 * at + 0.1 * number, 0.05, -0.1, 0.2)
            | {"n": 90 - at}
            | ({"worst": True} if not at else {})
        )
    found += [
        {"by": "meta.topic", "slice": None, "others": 13} | item(0.2) | few,
        {"by": "meta.topic", "slice": None} | item(0.0) | few,
    ]
    return found


def write_scores(folder, model, number):
    def item(value, change=None, low=None, high=None):
        return {
            "value": value,
            "low": value - 0.05,
            "high": value + 0.05,
            "n": 8,
            "change": change,
            "change_low": low,
            "change_high": high,
        }

    better, unclear = ((0.2, 0.1, 0.3), (0.05, -0.1, 0.2)) if number else ((), ())
    found = {
        "chat": {"loss": item(2.0 - number, *better), "exact_match": item(0.1 + number / 5, *better)},
        "problems": {"reward": item(0.3 + number / 10, *unclear)},
    }
    if number:
        found["chat"]["exact_match"] |= {
            "cut": 2,
            "cut_thinking": 3,
            "finished": 0.4,
            "slices": slices_of(item, number),
        }
    dump(folder / f"scores/{model}.json", found)
    tables = []
    for name, score in (("chat", "exact_match"), ("problems", "reward/exact_match")):
        said = [f"{model} says {text}" for text in QUESTIONS]
        right = [float(at < number * 3) for at in range(len(QUESTIONS))]
        columns = {
            "dataset": [name] * len(said),
            "id": [f"eval{at}" for at in range(len(said))],
            "generation": said,
            score: right,
        }
        tables.append(pa.table(columns))
    write(folder / f"scores/{model}.parquet", pa.concat_tables(tables, promote_options="default"))
