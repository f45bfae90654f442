"""What a proof about one row takes on a large build: the tree, `tilth prove` and `tilth verify PROOF`.

    python benchmarks/proofs.py --rows 1000000 --folder FOLDER [--runs 3]

In FOLDER a build is laid out that has trained one model on so many rows: the table of ids, what training saw, the model's made_of.json
and its statement. Nothing is trained, as neither command reads a weight. Commands run as processes of their own; wall time includes
start-up.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from builds import write_params, write_trained  # noqa: E402

from commands.builds.build import read_build  # noqa: E402
from commands.statements import formats, row_tree, tree_cache  # noqa: E402
from commands.statements.files import File  # noqa: E402
from commands.statements.folder import statement_path, write  # noqa: E402
from commands.statements.formats import PROVENANCE_TYPE, ROWS, STATEMENT_TYPE  # noqa: E402
from commands.statements.merkle import root  # noqa: E402
from commands.statements.model import resource_descriptor  # noqa: E402

PARAMS = {
    "datasets": {"chat": {"kind": "sft", "raw": "data/raw/chat.jsonl"}},
    "steps": {"sft": {"method": "sft", "from": "base", "dataset": "chat"}},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.folder)
    ids = lay_out(arguments.rows)
    build = read_build()
    start = time.perf_counter()
    tree = row_tree.build_tree(build, "sft")
    print(f"{len(tree.ids):,} rows: the tree of the statement {time.perf_counter() - start:.2f} s")
    state(tree)
    absent = hashlib.sha256(b"no row").hexdigest()
    print(f"| command | wall s, CPU s (median of {arguments.runs}) | bytes |\n|---|--:|--:|")
    for what, row in (("a row that was trained on", ids[7]), ("a row that was not", absent)):
        made = [timed("prove", row, "--model", "sft", "--out", "proof.json") for _ in range(arguments.runs)]
        checked = [timed("verify", "proof.json") for _ in range(arguments.runs)]
        print(f"| `prove`, {what} | {middle(made)} | {Path('proof.json').stat().st_size:,} |")
        print(f"| `verify`, {what} | {middle(checked)} | |", flush=True)
    for file in tree_cache.FOLDER.iterdir():
        file.unlink()
    print(
        f"| `prove`, the tree not kept | {middle([timed('prove', absent, '--model', 'sft', '--out', 'proof.json')])} | |"
    )


def lay_out(rows):
    """Write what a build of one model has of its rows; their ids."""
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(rows)]
    for folder in ("data/train", "data/raw", ".dvc"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path(".dvc/config").touch()
    write_params(PARAMS)
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    pq.write_table(pa.table({"id": ids, "line": np.arange(1, rows + 1)}), "data/train/chat.parquet", compression="zstd")
    write_trained("sft", "chat")
    return ids


def state(tree):
    """Write the part of the model's statement that proofs need."""
    rows = {"name": ROWS, "digest": {formats.ROOT_DIGEST: root(tree).hex()}, "annotations": {"size": len(tree.ids)}}
    files = [
        File(path, 0, hashlib.sha256(Path(path).read_bytes()).hexdigest())
        for path in ("models/sft/made_of.json", "scores/sft.seen.parquet")
    ]
    definition = {"externalParameters": {"step": "sft"}, "resolvedDependencies": [rows]}
    predicate = {"buildDefinition": definition, "runDetails": {"byproducts": [resource_descriptor(files[1])]}}
    subject = [resource_descriptor(files[0], under="models/sft")]
    write(
        statement_path("sft"),
        {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": PROVENANCE_TYPE, "predicate": predicate},
    )


def timed(*command):
    """(wall, CPU) seconds of a command."""
    start, before = time.perf_counter(), os.times()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "commands", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, spent


def middle(runs):
    wall, spent = (statistics.median(part) for part in zip(*runs, strict=True))
    return f"{wall:.2f}, {spent:.2f}"


if __name__ == "__main__":
    main()
