"""The files of tests/shapes/ that no editor writes: tables, packed files, and damage to these.

`python tests/packed_shapes.py [NAME ...]` writes them anew.
"""

import gzip
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent / "shapes"
GAMES = [{"prompt": "Name a game.", "completion": "Chess."}, {"prompt": "Name a dance.", "completion": "The waltz."}]
LINES = b"".join(b'{"prompt": "%s", "completion": "%s"}\n' % tuple(v.encode() for v in row.values()) for row in GAMES)
# what it shows, and the kind of its rows
WHAT = {
    "parquet.parquet": ("Parquet", "sft"),
    "parquet_null_padding.parquet": ("messages of Parquet, each with the keys of all others as nulls", "sft"),
    "parquet_arc.parquet": ("options of Parquet: texts beside labels", "grpo"),
    "parquet_types.parquet": ("ground truths as days, decimals and whole numbers with a gap, which are floats", "grpo"),
    "parquet_damaged.parquet": ("a row group that is damaged takes no other with it", "sft"),
    "parquet_not_utf8.parquet": ("a text of Parquet that is not UTF-8", "sft"),
    "arrow_stream.arrow": ("Arrow, as `Dataset.save_to_disk` writes it", "sft"),
    "arrow_file.feather": ("an Arrow file, as pandas writes Feather", "sft"),
    "lines.jsonl.gz": ("JSON lines in gzip", "sft"),
    "array.json.zst": ("a JSON array in zstd", "sft"),
    "table.csv.zip": ("CSV alone in a ZIP archive", "sft"),
    "truncated.jsonl.gz": ("a packed file that ends in its middle keeps what it has", "sft"),
    "refused_two_files.zip": ("a ZIP archive of several files", "sft"),
    "refused_archive.tar": ("a tar archive", "sft"),
    "refused_pickle.jsonl": ("a pickle", "sft"),
}


def bytes_of(name):
    """What a file of WHAT holds."""
    return globals()[name.partition(".")[0] + "_" + name.partition(".")[2].replace(".", "_")]()


def parquet(rows, schema=None, **settings):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), out, **settings)
    return out.getvalue()


def parquet_parquet():
    return parquet(GAMES)


def parquet_null_padding_parquet():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 4, "b": 5, "c": None}}}
    clock = {"id": "c2", "type": "function", "function": {"name": "add", "arguments": {"c": 1}}}
    turns = [
        {"role": "user", "content": "What is 4 + 5?"},
        {"role": "assistant", "tool_calls": [call, clock]},
        {"role": "tool", "content": "9", "tool_call_id": "c1", "name": "add"},
        {"role": "tool", "content": "1", "tool_call_id": "c2", "name": "add"},
        {"role": "assistant", "content": "9 and 1.", "reasoning_content": "Two sums."},
    ]
    return parquet([{"messages": turns, "images": None}, {"messages": [turns[0], turns[-1]], "images": []}])


def parquet_arc_parquet():
    choices = {"text": ["ice", "fire"], "label": ["A", "B"]}
    return parquet([{"id": "q1", "question": "Which is hot?", "choices": choices, "answerKey": "B"}])


def parquet_types_parquet():
    from datetime import date
    from decimal import Decimal

    rows = [
        {"prompt": "Which day follows 30 January 2026?", "answer": None, "target": date(2026, 1, 31), "solution": None},
        {"prompt": "What is 0.25 + 0.25?", "answer": Decimal("0.50"), "target": None, "solution": None},
        {"prompt": "What is 4 + 5?", "answer": None, "target": None, "solution": 9.0},
        {"prompt": "What is 0 / 0?", "answer": None, "target": None, "solution": float("nan")},
    ]
    return parquet(rows)


def parquet_damaged_parquet():
    rows = [{"prompt": f"What is {n} + 1?", "completion": str(n + 1)} for n in range(4)]
    settings = {"row_group_size": 2, "compression": "none", "use_dictionary": False, "write_page_checksum": True}
    settings["write_statistics"] = False  # which hold the texts once more
    data = parquet(rows, **settings)
    at = data.index(b"What is 2 + 1?")
    return data[:at] + b"X" + data[at + 1 :]


def parquet_not_utf8_parquet():
    texts = pa.array([b"Name a game.", b"Name a caf\xe9."], pa.binary()).view(pa.string())
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": texts, "completion": ["Chess.", "None."]}), out)
    return out.getvalue()


def arrow_stream_arrow():
    table, out = pa.Table.from_pylist(GAMES), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def arrow_file_feather():
    table, out = pa.Table.from_pylist(GAMES), io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def lines_jsonl_gz():
    return gzip.compress(LINES, mtime=0)


def array_json_zst():
    import zstandard

    return zstandard.compress(b"[\n" + LINES.rstrip().replace(b"}\n", b"},\n") + b"\n]\n")


def table_csv_zip():
    return archive({"table.csv": "prompt,completion\nName a game.,Chess.\n"})


def truncated_jsonl_gz():
    # stored, not packed, so that the cut is at the same letter with every zlib
    return gzip.compress(LINES, compresslevel=0, mtime=0)[:-30]


def refused_two_files_zip():
    return archive({"train.jsonl": LINES.decode(), "test.jsonl": LINES.decode()})


def refused_archive_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("lines.jsonl")
        info.size = len(LINES)
        tar.addfile(info, io.BytesIO(LINES))
    return out.getvalue().rstrip(b"\0") + bytes(512)


def refused_pickle_jsonl():
    return b"\x80\x04]\x94."  # an empty list


def archive(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(zipfile.ZipInfo(name), text)
    return out.getvalue()


if __name__ == "__main__":
    for name in sys.argv[1:] or WHAT:
        (FOLDER / name).write_bytes(bytes_of(name))
