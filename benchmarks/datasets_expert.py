"""The job of data.py as an expert writes it with HF `datasets`.

One Arrow-format `map` that parses and drops rows at once, keys kept in the same pass, contiguous selections written
without content-defined chunking, and no second copy of the text before the last write.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset
from datasets_usual import conversation, identity, in_eval

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def parse(table, numbers):
    rows = [(number + 1, conversation(line)) for number, line in zip(numbers, table["text"].to_pylist(), strict=True)]
    rows = [(number, messages) for number, messages in rows if messages]
    return pa.table(
        {
            "messages": pa.array([messages for _, messages in rows], MESSAGES),
            "id": pa.array([identity(messages) for _, messages in rows], pa.string()),
            "eval": pa.array([in_eval(messages) for _, messages in rows], pa.bool_()),
            "line": pa.array([number for number, _ in rows], pa.int64()),
        }
    )


def main(path, processes):
    rows = load_dataset("text", data_files=path, split="train").with_format("arrow")
    rows = rows.map(
        parse, batched=True, batch_size=10_000, with_indices=True, num_proc=processes, remove_columns=["text"]
    )
    table = rows.data.table
    _, first = np.unique(table["id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
    keep = np.zeros(len(table), bool)
    keep[first] = True
    in_eval_side = table["eval"].to_numpy(zero_copy_only=False)
    for side, chosen in (("train", keep & ~in_eval_side), ("eval", keep & in_eval_side)):
        Path("data", side).mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(
            f"data/{side}/chat.parquet", table.schema.remove_metadata(), compression="zstd"
        ) as writer:
            first_row = 0
            for batch in table.to_batches(max_chunksize=50_000):
                writer.write_batch(batch.filter(pa.array(chosen[first_row : first_row + len(batch)])))
                first_row += len(batch)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
