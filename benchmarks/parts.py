"""Where the time of the data stages goes: reading, parsing, hashing, checking, deciding, writing, each by itself.

    python benchmarks/parts.py --folder FOLDER [--rows 200000] [--runs 3]

One process and one thread of Python; medians. Beside each part stands how many times a plain read of the raw file plus a
plain write of the result's bytes it takes.
"""

import argparse
import hashlib
import os
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from make_chat import write as write_raw  # noqa: E402

from stages import curate, validate  # noqa: E402
from stages.dedup.decision import Decision  # noqa: E402
from stages.reading.parts import Part  # noqa: E402
from stages.reading.readers import read_lines  # noqa: E402
from stages.rows.identity import normalise_text  # noqa: E402
from stages.rows.plain_conversations import SftColumns, plain_turns  # noqa: E402
from stages.rows.tables import REJECTS, open_writer, write_table  # noqa: E402
from stages.rows.values import ENCODE  # noqa: E402
from validators import sft  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    raw = arguments.folder.resolve() / f"raw-{arguments.rows}"
    if not (raw / "truth.parquet").exists():
        write_raw(arguments.rows, raw)
    os.chdir(arguments.folder)
    runs = [times(raw / "chat.jsonl") for _ in range(arguments.runs)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    floor = medians["plain read of the raw file"] + medians["plain write of the result"]
    print("| part | s | us a row | times the plain read and write |\n|---|--:|--:|--:|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.2f} | {1e6 * seconds / arguments.rows:.1f} | {seconds / floor:.1f} |")


def times(path):
    """{part: seconds} of one run over a raw file; the result of each part is the input of the next."""
    found = {}

    def timed(name, function):
        start = time.perf_counter()
        result = function()
        found[name] = found.get(name, 0.0) + time.perf_counter() - start
        return result

    timed("plain read of the raw file", path.read_bytes)
    whole = Part(path, "jsonl", 0, path.stat().st_size, 1)
    lines = timed("ingest: reading lines", lambda: list(read_lines(whole)))
    parsed = timed("ingest: parsing and telling the shape", lambda: [(plain_turns(raw), line) for line, raw in lines])
    plain = [(turns[0], line) for turns, line in parsed if turns]
    timed("ingest: hashing ids and prompts", lambda: [hashed(turns) for turns, _ in plain])
    columns = SftColumns()
    before = time.perf_counter()
    for turns, line in plain:
        columns.append(turns, line)
    # appending hashes, too: what is left is the columns' own
    appending = time.perf_counter() - before - found["ingest: hashing ids and prompts"]
    table = timed("ingest: building columns", lambda: columns.table("chat.jsonl"))
    found["ingest: building columns"] += appending
    timed("ingest: writing", lambda: write_table("rows.parquet", table, "none"))
    timed("validate: reading", lambda: pq.read_table("rows.parquet"))
    batches = [pa.Table.from_batches([batch]) for batch in table.to_batches(validate.BATCH_ROWS)]
    rejects = timed("validate: checking", lambda: [validate.examine_table(batch, sft)[0] for batch in batches])
    write_table("invalid.parquet", pa.concat_tables([REJECTS.empty_table(), *rejects]), "none")
    decision = timed(
        "curate: keys and split", lambda: Decision([Path("rows.parquet")], Path("invalid.parquet"), 7, 0.05)
    )
    timed("curate: duplicates", lambda: decision.reject("curate.duplicate", decision.run_query("duplicates")))
    names = [name for name in table.schema.names if name not in ("prompt_key", "claim_key", "claim")]
    parts = timed("curate: reading and sorting out", lambda: curate.split_part(0, decision, "sft", names))
    timed("curate: writing, compressed", lambda: write_parts(parts))
    result = b"".join(Path(name).read_bytes() for name in ("train.parquet", "eval.parquet"))
    timed("plain write of the result", lambda: Path("floor").write_bytes(result))
    return found


def hashed(turns):
    """What `Columns.append` hashes of a conversation."""
    encoded = ENCODE(turns)
    asked = next((turn.content for turn in turns if turn.role == "user" and turn.content), None)
    key = hashlib.sha256(normalise_text(asked if asked is not None else encoded.decode()).encode()).hexdigest()
    return hashlib.sha256(b'{"kind":"sft","messages":%b,"tools":null}' % encoded).hexdigest(), key


def write_parts(parts):
    for name, table in zip(("train", "eval", "rejected"), parts, strict=True):
        with open_writer(f"{name}.parquet", table.schema) as out:
            out.write_table(table)


if __name__ == "__main__":
    main()
