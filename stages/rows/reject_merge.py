"""The rejects of all stages as one table, in the order of the raw records, however large their texts are.

    merge_rejects([ingest's, validate's, curate's], data/rejected/chat.parquet)

Each stage writes its rejects in the order of the raw records. So only their positions are sorted, and the texts are merged while
they are read. A database would sort the texts too, and fail if they exceed its memory.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.rows.tables import REJECTS, open_writer

BATCH_ROWS = 5_000


def merge_rejects(
    files: Sequence[Path],
    target: str | Path,
    change: Callable[[pa.Table], pa.Table] | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write `target`: the rows of all files by source, line and file. Raises AssertionError if a file is in another order.

    change: a function that is applied to each batch. metadata: {name: text} of the file.
    """
    file_numbers, order = order_of_rows(files)
    streams = [RejectStream(file) for file in files]
    with open_writer(target, REJECTS.with_metadata(metadata)) as out:
        for first in range(0, len(order), BATCH_ROWS):
            owners = file_numbers[order[first : first + BATCH_ROWS]]
            batch = pa.concat_tables([stream.read(int((owners == i).sum())) for i, stream in enumerate(streams)])
            places = np.empty(len(owners), np.int64)
            places[np.argsort(owners, kind="stable")] = np.arange(len(owners))
            batch = batch.take(pa.array(places))
            out.write_table(change(batch) if change else batch)


def order_of_rows(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(the number of the file that each row is in, the rows in order); rows are numbered through all files."""
    tables = [pq.read_table(file, columns=["source", "line"]) for file in files]
    file_numbers = np.repeat(np.arange(len(files)), [len(table) for table in tables])
    places = pa.concat_tables(tables)
    sources = places["source"].combine_chunks().dictionary_encode()
    names = sources.dictionary.to_pylist()
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=lambda i: Path(names[i]))] = np.arange(len(names))  # as ingest reads them
    order = np.lexsort((file_numbers, places["line"].to_numpy(), rank[sources.indices.to_numpy()]))
    for i, file in enumerate(files):
        if (np.diff(order[file_numbers[order] == i]) < 0).any():
            raise AssertionError(f"{file} is not in the order of the raw records, which is a bug in Tilth")
    return file_numbers, order


class RejectStream:
    """The rows of a Parquet file in order, a given number at a time."""

    def __init__(self, path: Path) -> None:
        self.batches = pq.ParquetFile(path, buffer_size=2**20).iter_batches(BATCH_ROWS, columns=REJECTS.names)
        self.remaining = REJECTS.empty_table()

    def read(self, count: int) -> pa.Table:
        """The next rows, `count` of them."""
        while len(self.remaining) < count:
            self.remaining = pa.concat_tables(
                [self.remaining, pa.Table.from_batches([next(self.batches)]).cast(REJECTS)]
            )
        batch, self.remaining = self.remaining.slice(0, count), self.remaining.slice(count)
        return batch
