"""What the audit takes on a large build: trace, lineage, diff, verify and plan, beside a plain hash and a plain read.

    python benchmarks/audit.py --rows 1000000 --folder FOLDER [--runs 3] [--raw chat.jsonl] [--train-on few]

In FOLDER a copy of the project is made with git and built by a real `dvc repro`: a dataset `chat` of so many rows of
make_chat.py, a dataset `few` of its first 2,000, and one step of training of the tiny model on one of the two. Then 1,000
records are replaced, and it is built and committed again, for `diff` to tell the two commits apart. Commands run in the
working tree as processes of their own; wall time includes start-up, memory is the peak of the whole process tree.
A folder that is built already is measured again as it is.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from make_chat import conversation, line_of, vocabulary, write  # noqa: E402

from data import measured  # noqa: E402

FEW, CHANGED = 2_000, 1_000
BUILT = ("data", "models", "preflight", "scores", "report")
PLAIN = """
import hashlib, sys
for path in open(sys.argv[2]).read().splitlines():
    with open(path, 'rb') as file:
        if sys.argv[1] != 'read':
            hashlib.file_digest(file, sys.argv[1])
        while file.read(2**24):
            pass
"""
ENVIRONMENT = {
    "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_OFFLINE": "1",
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--raw", type=Path, help="chat.jsonl that make_chat.py wrote before, with so many rows")
    parser.add_argument("--train-on", choices=["chat", "few"], default="chat")
    arguments = parser.parse_args()
    project = arguments.folder.resolve() / f"project-{arguments.rows}-{arguments.train_on}"
    if not (project / "built").exists():
        shutil.rmtree(project, ignore_errors=True)
        build(project, arguments)
    files = listing(project)
    size = sum((project / path).stat().st_size for path in files)
    print(f"{arguments.rows:,} rows, {len(files)} files of {size / 1e9:.2f} GB, {os.cpu_count()} cores")
    print(f"| command | wall s (median of {arguments.runs}) | peak GB |\n|---|--:|--:|")
    for name, command in commands(project, files).items():
        seconds, memory = zip(*(quiet(command, project) for _ in range(arguments.runs)), strict=True)
        print(f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(memory) / 1e9:.2f} |", flush=True)


def commands(project, files):
    """{what: command} of all that this project has, and of the plain hash and read of what it built from."""
    row = a_row(project)
    place, text = f"{row['source']}:{row['line']}", row["messages"][-1]["content"]
    asked = {
        "trace ID": ["trace", row["id"]],
        "trace FILE:LINE": ["trace", place],
        "trace TEXT (a whole answer)": ["trace", text],
        "trace TEXT (five words of it)": ["trace", " ".join(text.split()[5:10])],
        "lineage": ["lineage"],
        "diff of two commits": ["diff", "HEAD~1", "HEAD"],
        "plan": ["plan"],
        "provenance": ["provenance"],
        "verify": ["verify"],
        "verify --cache": ["verify", "--cache"],
        "verify --sample 10000": ["verify", "--sample", "10000"],
    }
    tilth = [sys.executable, "-m", "commands"]
    found = {f"`{name}`": [*tilth, *given] for name, given in asked.items() if there(project, given[0])}
    names = project / "files.txt"
    names.write_text("\n".join(files), encoding="utf-8")
    plain = {f"plain {what} of the same files": what for what in ("md5", "sha256", "read")}
    return found | {name: [sys.executable, "-c", PLAIN, what, str(names)] for name, what in plain.items()}


def there(project, command):
    return (project / "commands" / f"{command}.py").exists()


def quiet(command, project):
    """`measured`, whose last lines of output go to stderr: the table stays whole."""
    stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        return measured(command, project, ENVIRONMENT)
    finally:
        sys.stdout = stdout


def listing(project):
    """The files that a build has and is made from."""
    folders = [project / folder for folder in BUILT]
    return sorted(
        path.relative_to(project).as_posix() for folder in folders for path in folder.rglob("*") if path.is_file()
    )


def a_row(project):
    """A train row from the middle of the dataset."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(project / "data/train/chat.parquet")
    return next(file.iter_batches(1, row_groups=[file.num_row_groups // 2])).to_pylist()[0]


# -- the build ----------------------------------------------------------------------------------------------------


def build(project, arguments):
    """Two commits of one project, each built."""
    copied(project)
    folder = project / "data/raw/chat"
    if arguments.raw:
        folder.mkdir(parents=True)
        shutil.copyfile(arguments.raw, folder / "chat.jsonl")
    else:
        write(arguments.rows, folder)
        (folder / "truth.parquet").unlink()
    few = project / "data/raw/few/chat.jsonl"
    few.parent.mkdir()
    with open(folder / "chat.jsonl", encoding="utf-8") as file:
        few.write_text("".join(line for line, _ in zip(file, range(FEW), strict=False)), encoding="utf-8")
    (project / "params.yaml").write_text(params(arguments.train_on), encoding="utf-8")
    run(project, "git", "init", "-q")
    for what in ("built", "built again"):
        run(project, "dvc", "add", "-q", "data/raw/chat")
        run(project, "git", "add", "data/raw/chat.dvc")
        seconds, memory = quiet(["dvc", "repro"], project)
        print(f"dvc repro: {seconds:.0f} s, {memory / 1e9:.2f} GB", flush=True)
        run(project, "git", "add", "-A")
        run(project, "git", "commit", "-qm", what)
        if what == "built":
            replace_some(folder / "chat.jsonl", arguments.rows)
    (project / ".git/info/exclude").write_text("/built\n/files.txt\n", encoding="utf-8")
    (project / "built").touch()


def run(project, *command):
    subprocess.run(command, cwd=project, env=os.environ | ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def copied(project):
    """The files of this repository as they stand, without its raw data."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in names:
        if (ROOT / name).is_file() and not name.startswith("data/raw/") and name != "dvc.lock":
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, project / name)


def params(train_on):
    """params.yaml: JSON is YAML."""
    step = {
        "method": "sft",
        "from": "base",
        "dataset": train_on,
        "args": {"max_steps": 1, "learning_rate": 3e-3, "per_device_train_batch_size": 2},
        "waive": {"learning_rate": "the tiny model starts from random weights"},
    }
    datasets = {name: {"kind": "sft", "raw": f"data/raw/{name}", "max_reject_share": 0.5} for name in ("chat", "few")}
    return json.dumps(
        {
            "seed": 7,
            "launch": "python",
            "eval_fraction": 0.05,
            "engine": "local",
            "base": {"model": "tiny", "revision": None, "backend": "transformers"},
            "datasets": datasets,
            "steps": {"sft": step},
            "curate": {"near_duplicates": None, "ngram_words": 13, "overlap_share": 0.8},
            "preflight": {},
            "evaluate": {"max_new_tokens": 2, "max_rows": 10, "batch_size": 10},
        },
        indent=2,
    )


def replace_some(path, rows):
    """Replace records all over a file by new ones; all others stay on their lines."""
    rng = random.Random(2)
    words, every = vocabulary(rng), max(1, rows // CHANGED)
    partial = path.with_name("partial")
    with open(path, encoding="utf-8") as source, open(partial, "w", encoding="utf-8") as target:
        for number, line in enumerate(source):
            new = number % every == every // 2
            target.write(json.dumps(line_of(conversation(rng, words), 0)) + "\n" if new else line)
    os.replace(partial, path)


if __name__ == "__main__":
    main()
