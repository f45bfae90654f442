"""Data preparation side by side: this project, and the same job written with HF `datasets`, on one generated file.

    python benchmarks/data.py --rows 1000000 --folder /tmp/bench [--runs 3] [--only tilth usual expert]

The job: from a file of mixed chat rows (see make_chat.py) to train and eval Parquet without bad rows and exact
duplicates, split on the first user turn. Each contender is checked against the planted truth and against the ids of the
others. Wall time includes start-up; memory is the peak of the proportional set size of the whole process tree.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
ROOT = HERE.parent
CORES = os.cpu_count()
sys.path.insert(0, str(HERE))
from make_chat import EXPECTED, write  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--near-duplicates", type=float, help="similarity for this project alone; off where left out")
    parser.add_argument("--only", nargs="+", default=["tilth", "usual", "expert"])
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    raw = folder / f"raw-{arguments.rows}"
    if not (raw / "truth.parquet").exists():
        write(arguments.rows, raw)
    print(f"{arguments.rows:,} rows, {(raw / 'chat.jsonl').stat().st_size / 1e9:.2f} GB, {CORES} cores")
    floor(raw, folder)
    figures = {name: [] for name in arguments.only}
    for _ in range(arguments.runs):
        for name in arguments.only:
            work = folder / name
            shutil.rmtree(work, ignore_errors=True)
            figures[name].append(CONTENDERS[name](raw, work, arguments.near_duplicates))
    print("| contender | wall s (median) | peak GB | rows/s | times the first |\n|---|--:|--:|--:|--:|")
    first = statistics.median(seconds for seconds, _ in figures[arguments.only[0]])
    for name, measured in figures.items():
        seconds, memory = (statistics.median(column) for column in zip(*measured, strict=True))
        print(
            f"| {name} | {seconds:.1f} | {memory / 1e9:.2f} | {arguments.rows / seconds:,.0f} | {seconds / first:.2f} |"
        )
    if arguments.near_duplicates:
        verify_near(raw, folder)
    else:
        verify(raw, folder, arguments.only)


def measured(command, cwd, environment=None):
    """(seconds, peak bytes of the process tree) of one command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak, done = [0], threading.Event()

    def watch():
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(proportional_set_size, tree(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{output[-3000:]}")
    print("\n".join(f"    {line}" for line in output.strip().splitlines()[-3:]), flush=True)
    return seconds, peak[0]


def tree(pid):
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(descendant for child in children for descendant in tree(int(child)))]


def proportional_set_size(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def floor(raw, folder):
    """What no program can go below: a plain read of the file and a plain write of as many bytes."""
    start = time.perf_counter()
    with open(raw / "chat.jsonl", "rb") as source, open(folder / "floor", "wb") as target:
        while block := source.read(2**24):
            target.write(block)
    print(f"plain read plus plain write: {time.perf_counter() - start:.1f} s", flush=True)
    (folder / "floor").unlink()


def tilth(raw, work, near=None):
    """The three stages as three processes, as DVC runs them."""
    (work / "data").mkdir(parents=True)
    (work / "params.yaml").write_text(
        "seed: 7\nlaunch: python\neval_fraction: 0.05\nbase: {model: tiny}\nsteps: {}\npreflight: {}\n"
        "datasets: {chat: {kind: sft, raw: data/raw, max_reject_share: 0.5}}\n"
        f"curate: {{near_duplicates: {'null' if near is None else near}}}\n"
        "evaluate: {max_new_tokens: 2, max_rows: 10, batch_size: 10}\n"
    )
    (work / "data/raw").mkdir()
    os.link(raw / "chat.jsonl", work / "data/raw/chat.jsonl")
    total, peak = 0.0, 0
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "stages", "check"], cwd=work, env=os.environ | environment, check=True)
    for stage in ("ingest", "validate", "curate"):
        seconds, memory = measured([sys.executable, "-m", "stages", stage, "chat"], work, environment)
        print(f"  {stage}: {seconds:.1f} s, {memory / 1e9:.2f} GB", flush=True)
        total, peak = total + seconds, max(peak, memory)
    return total, peak


def with_datasets(script):
    def run(raw, work, _):
        work.mkdir(parents=True)
        environment = {"HF_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        return measured([sys.executable, str(HERE / script), str(raw / "chat.jsonl"), str(CORES)], work, environment)

    return run


CONTENDERS = {
    "tilth": tilth,
    "usual": with_datasets("datasets_usual.py"),
    "expert": with_datasets("datasets_expert.py"),
}


def verify(raw, folder, names):
    """Hold the result of each contender against the truth and against the others."""
    truth, ids = raw / "truth.parquet", {}
    for name in names:
        data = folder / name / "data"
        query = f"SELECT line FROM read_parquet(['{data}/train/chat.parquet', '{data}/eval/chat.parquet'])"
        lost, kept = duckdb.sql(
            f"""SELECT count(*) FILTER (kept.line IS NULL AND planted IN ('', 'near_duplicate')),
                       count(*) FILTER (kept.line IS NOT NULL AND planted NOT IN ('', 'near_duplicate'))
                FROM '{truth}' AS truth LEFT JOIN ({query}) AS kept USING (line)"""
        ).fetchall()[0]
        ids[name] = set(duckdb.sql(query.replace("line", "id")).fetchnumpy()["id"].tolist())
        print(f"{name}: {len(ids[name]):,} rows kept; good rows lost: {lost}, bad rows kept: {kept}")
    if len(names) > 1:
        print("same rows in all:", len({frozenset(found) for found in ids.values()}) == 1)
    if "tilth" in names:
        reasons = duckdb.sql(
            f"SELECT planted, r.check, count(*) FROM '{truth}' JOIN '{folder}/tilth/data/rejected/chat.parquet' AS r USING (line) GROUP BY ALL"
        ).fetchall()
        wrong = {(planted, check): count for planted, check, count in reasons if EXPECTED.get(planted) != check}
        print(
            "bad rows rejected for another reason than planted:",
            json.dumps([[*key, count] for key, count in wrong.items()]),
        )


def verify_near(raw, folder):
    """Planted near-duplicates caught: either of a pair may be the one that goes, if the other is an eval row."""
    caught, planted, false = duckdb.sql(
        f"""WITH gone AS (SELECT line FROM '{folder}/tilth/data/rejected/chat.parquet' WHERE "check" LIKE 'curate.near%'),
                 pairs AS (SELECT line, "of" FROM '{raw}/truth.parquet' WHERE planted = 'near_duplicate')
            SELECT (SELECT count(*) FROM pairs WHERE line IN (FROM gone) OR "of" IN (FROM gone)),
                   (SELECT count(*) FROM pairs),
                   (SELECT count(*) FROM gone WHERE line NOT IN (SELECT line FROM pairs) AND line NOT IN (SELECT "of" FROM pairs))"""
    ).fetchall()[0]
    print(
        f"near-duplicates caught: {caught:,} of {planted:,} ({caught / planted:.1%}); rows turned away that are none: {false}"
    )


if __name__ == "__main__":
    main()
