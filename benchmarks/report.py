"""How long the report takes and how large its page is, with very many rows behind it, and when a browser first paints it.

    python benchmarks/report.py --rows 1000000

Makes what a build of all five methods would leave (rows, rejects, preflight, curves, scores) in a temporary folder, from a
seed, and runs the stage there. `--project DIR` measures a folder that was built instead. First paint is Chromium's own
`first-contentful-paint` of the page opened from disk, the median of five loads.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
KINDS = {"chat": "sft", "pairs": "preference", "feedback": "kto", "problems": "grpo"}
STORY = "the rain in spring makes soil ready for seed and every row of it is counted twice before winter comes again"
MEASURE = """
import time, stages.report, vl_convert
start, cpu = time.perf_counter(), time.process_time()
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    stages.report.main()
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--project", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "project")
        if arguments.project:
            for name in ("data", "preflight", "scores", ".build/params"):
                shutil.copytree(arguments.project / name, made / name)
        else:
            make(made, arguments.rows)
        measure(made)


def measure(folder):
    """Print what the stage takes in a folder, alone and with its imports, and what it leaves."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    whole = time.perf_counter() - start
    page = folder / "report/index.html"
    print(f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}")
    wall, cpu = map(float, done.stdout.split())
    print(f"stage beyond imports: {wall:.2f} s, of the CPU {cpu:.2f} s; with imports and start-up: {whole:.2f} s")
    print(f"page: {page.stat().st_size:,} bytes")
    paint = first_paint(page)
    print("first paint: no browser here" if paint is None else f"first paint from disk: {paint:.0f} ms")


def first_paint(page):
    """Milliseconds to the first contentful paint in Chromium, the median of five loads; None without a browser."""
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        found = []
        for _ in range(5):
            tab = chromium.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.resolve().as_uri())
            # asked again and again from outside: the page's own policy allows no script but its own to wait in it
            while (
                start := tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
            ) is None:
                tab.wait_for_timeout(10)
            found.append(start)
            tab.close()
        chromium.close()
    return statistics.median(found)


# -- a build that never was ---------------------------------------------------------------------------------------


def make(folder, rows):
    """What a build of the five methods would leave, `rows` rows over the four datasets, 5% of them rejected."""
    from stages.core import stage_params
    from stages.rows.tables import REJECTS, row_schema, to_table
    from validators.params import fill_defaults

    random = np.random.default_rng(7)
    params = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    params["steps"] = params["methods"]
    params["gates"] = []  # those of the sample name steps of its own
    for name, kind in KINDS.items():
        count = rows // len(KINDS)
        block = [record(random, kind, i) for i in range(10_000)]
        for side, part in (("train", 0.8), ("eval", 0.15)):
            write_rows(folder / f"data/{side}/{name}.parquet", block, row_schema(kind), int(count * part))
        refused = [reject(random, name, kind, i) for i in range(int(count * 0.05))]
        write(folder / f"data/rejected/{name}.parquet", to_table(refused, REJECTS))
    for side, part in (("train", 0.8), ("eval", 0.15)):
        listed = {
            name: {"kind": kind, "rows": int(rows // 4 * part), "sha256": "0" * 64} for name, kind in KINDS.items()
        }
        dump(folder / f"data/{side}.json", listed)
    for name, step in params["steps"].items():
        dump(folder / f"preflight/{name}.json", resolved(name, step, int(rows // 4 * 0.8)))
        write_curve(folder / f"scores/{name}.csv", random)
        seen = {
            "step": name,
            "dataset": step["dataset"],
            "rows_sha256": "0" * 64,
            "tokens": 20_000,
            "sequences": 20_000,
        }
        table = pa.table({"times": np.ones(int(rows // 4 * 0.8), np.int32)})
        pq.write_table(
            table.replace_schema_metadata({"tilth": json.dumps(seen)}), folder / f"scores/{name}.seen.parquet"
        )
    dump(folder / "preflight/_rewards.json", {"problems": {"exact_match": {"weight": 1.0, "code": "a1"}}})
    for model in ("base", *params["steps"]):
        write_scores(folder, model, random)
    with contextlib.chdir(folder):
        stage_params.write_stage_params(fill_defaults(params))


def text(random, words):
    known = STORY.split()
    return " ".join(known[i] for i in random.integers(0, len(known), words))


def record(random, kind, number):
    """A row with texts of some 200 to 600 characters."""
    asked = [{"role": "user", "content": f"{number}: {text(random, 20)}"}]
    answer, other = ([{"role": "assistant", "content": text(random, int(random.integers(10, 90)))}] for _ in range(2))
    origin = {"id": f"{number:064x}", "source": f"data/raw/{kind}/part{number % 20:02}.jsonl", "line": number + 1}
    return (
        origin
        | {
            "sft": {"messages": asked + answer, "tools": None},
            "preference": {"prompt": asked, "chosen": answer, "rejected": other},
            "kto": {"prompt": asked, "completion": answer, "label": number % 3 > 0},
            "grpo": {"prompt": asked, "ground_truth": text(random, 3), "extra": "{}"},
        }[kind]
    )


def reject(random, name, kind, number):
    return {
        "id": None, "source": f"data/raw/{kind}/part{number % 20:02}.jsonl", "line": number + 1_000_000, "stage": "validate",
        "check": f"{kind}.check_{number % 9}", "detail": text(random, 12), "raw": text(random, 80),
    }  # fmt: skip


def write_rows(path, block, schema, count):
    """`count` rows: the block again and again, with lines of their own."""
    from stages.rows.tables import to_table

    table, path = to_table(block, schema), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, count, len(block)):
            lines = pa.array(range(first, first + len(block)), pa.int64())
            part = table.set_column(table.schema.get_field_index("line"), "line", lines)
            writer.write_table(part.slice(0, min(len(block), count - first)))


def resolved(name, step, rows):
    kept = {"step": name} | {key: step[key] for key in ("method", "from", "dataset")}
    return kept | {
        "args": step["args"], "lora": None, "rows": rows, "trained_rows": rows, "tokens": rows * 110, "learned_tokens": rows * 70,
        "optimizer_steps": 20_000, "length": {"p50": 105, "p95": 180, "max": 220},
    }  # fmt: skip


def write_curve(path, random):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [
        "loss",
        "learning_rate",
        "grad_norm",
        "rewards/margins",
        "rewards/chosen",
        "rewards/rejected",
        "kl",
        "num_tokens",
    ]
    lines = [",".join(["step", "epoch", *columns])]
    for step in range(10, 20_001, 10):
        lines.append(",".join(str(value) for value in [step, step / 10_000, *random.random(len(columns)).round(4)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_scores(folder, model, random):
    """Scores of 2,000 rows a dataset, which is what `evaluate.max_rows` keeps."""
    metrics = {"chat": ["loss", "exact_match"], "pairs": ["pair_accuracy"], "feedback": ["auc"], "problems": ["reward"]}
    item = {"value": 0.5, "low": 0.48, "high": 0.52, "n": 2000, "change": 0.1, "change_low": 0.05, "change_high": 0.15}
    dump(folder / f"scores/{model}.json", {name: dict.fromkeys(found, item) for name, found in metrics.items()})
    ids = [f"{number:064x}" for number in range(2000)]
    tables = []
    for name in ("chat", "problems"):
        said = [text(random, 70) for _ in ids]
        score = "exact_match" if name == "chat" else "reward/exact_match"
        columns = {
            "dataset": [name] * len(ids),
            "id": ids,
            "generation": said,
            score: random.integers(0, 2, len(ids)).astype(float),
        }
        tables.append(pa.table(columns))
    write(folder / f"scores/{model}.parquet", pa.concat_tables(tables, promote_options="default"))


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def dump(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
