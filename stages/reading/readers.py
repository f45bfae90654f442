"""The records of raw files. The format of a file is seen from its content, never from its name.

    records(path) -> Record(line, value, raw, fault)

`line` is the 1-based line of a JSON lines or CSV record, or the record's number in a JSON array or Parquet. A record that cannot
be read keeps its raw text and has the reason in `fault`. Only blank lines are skipped.
"""

import io
import json
import mmap
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stages.reading.containers import BOM, UnpackedStream, detect_container, open_raw
from stages.reading.csv import csv_records
from stages.reading.json_arrays import elements
from stages.reading.json_values import decode_json, non_finite_places, without_struct_nulls
from stages.reading.wrapped_tables import keys_beside, records_in
from stages.rows.types import Fault
from stages.rows.values import ENCODE, type_of
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.reading.parts import Part

PARQUET_ROWS = 1000


@dataclass(slots=True)
class Record:
    """beside: of the first record of a list in one object, what stands in that object beside the list."""

    line: int
    value: dict[str, Any] | None
    raw: str
    fault: Fault | None = None
    beside: dict[str, Any] | None = None


def records(path: Path, container: str | None = None, numbered: bool = False) -> Iterator[Record]:
    """Every record of a raw file, readable or not, in file order.

    container: as `detect_container` gives it, if that is known. numbered: a CSV has no header; its columns are "1", "2", ...
    """
    container = (container or detect_container(path)).partition(".")[0]
    with open_raw(path) as (file, unpacked):
        if container == "parquet":
            yield from _read_parquet(path, file, unpacked)
        elif container == "arrow":
            yield from _read_arrow(path, file, unpacked)
        elif container == "json":
            yield from _read_json(path, file, unpacked)
        else:
            cut_records: list[Record] = []
            lines = _lines_until_cut(file, unpacked, cut_records)
            if container == "jsonl":
                yield from (record_of(number, line) for number, line in _number_lines(lines, 1))
            else:
                yield from (Record(*fields) for fields in csv_records(path, lines, numbered))
            yield from cut_records


def _lines_until_cut(
    file: Iterable[bytes], unpacked: UnpackedStream | None, cut_records: list[Record]
) -> Iterator[bytes]:
    """The lines of a file. The line at which a packed file is cut is appended to `cut_records`, as a record."""
    number = 0
    for number, line in enumerate(file, 1):
        if unpacked and unpacked.cut_reason and not line.endswith(b"\n"):
            cut_records.append(_truncated_record(number, line, unpacked.cut_reason))
            return
        yield line.removeprefix(BOM) if number == 1 else line
    if unpacked and unpacked.cut_reason:
        cut_records.append(_truncated_record(number + 1, b"", unpacked.cut_reason))


def _truncated_record(number: int, raw: bytes, why: str) -> Record:
    return Record(number, None, raw.decode(errors="backslashreplace"), ("ingest.truncated", why))


def read_lines(part: "Part") -> Iterator[tuple[int, bytes]]:
    """(line number, bytes) of each line of a part that is not blank."""
    with open(part.path, "rb") as file:
        file.seek(part.start)
        yield from _number_lines(io.BytesIO(file.read(part.end - part.start)), part.line)


def packed_lines(path: Path, cut_records: list[Record]) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes) of each line of a packed file. If the file is cut, the record at that place is appended to `cut_records`."""
    with open_raw(path) as (file, unpacked):
        yield from _number_lines(_lines_until_cut(file, unpacked, cut_records), 1)


def _number_lines(lines: Iterable[bytes], first: int) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, first):
        if number == 1:
            line = line.removeprefix(BOM)
        # only "\n" ends a line: a lone "\r" is data, and "\r\n" is white space to JSON
        if (line := line.rstrip(b"\r\n")) and not line.isspace():
            yield number, line


def record_of(number: int, raw: bytes) -> Record:
    """One JSON value as a record: its text and its value, or why it cannot be read."""
    try:
        raw.isascii() or raw.decode()
        value = decode_json(raw)
    except UnicodeDecodeError as error:
        return Record(
            number, None, raw.decode(errors="backslashreplace"), ("ingest.utf8", f"byte {error.start} is not UTF-8")
        )
    except RecursionError:
        return Record(number, None, raw.decode(), ("ingest.json", "nested too deeply"))
    except msgspec.DecodeError as error:
        return Record(number, None, raw.decode(errors="backslashreplace"), ("ingest.json", str(error)))
    if not isinstance(value, dict):
        return Record(
            number, None, raw.decode(), ("ingest.not_an_object", f"expected an object, found {type_of(value)}")
        )
    return Record(number, value, raw.decode())


def _read_json(path: Path, file: io.BufferedReader, unpacked: UnpackedStream | None) -> Iterator[Record]:
    data: bytes | mmap.mmap = file.read() if unpacked else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if data[:3] == BOM:
        data = data[3:]
    number = 0
    for number, (text, cut) in enumerate(elements(data), 1):
        if cut:
            yield _truncated_record(number, text, unpacked.cut_reason if unpacked and unpacked.cut_reason else cut)
            return
        record = record_of(number, text)
        table = records_in(record.value) if number == 1 and data[:64].lstrip()[:1] == b"{" else None
        if table is None:
            yield record
        else:
            beside = keys_beside(record.value or {}, table)
            for number, value in enumerate(table, 1):
                yield Record(
                    number, value, json.dumps(value, ensure_ascii=False), beside=beside if number == 1 else None
                )
    if unpacked and unpacked.cut_reason:  # damaged after the array
        yield _truncated_record(number + 1, b"", unpacked.cut_reason)


def _read_parquet(path: Path, file: io.BufferedReader, unpacked: UnpackedStream | None) -> Iterator[Record]:
    """Records of a Parquet file, row group by row group; a group that cannot be read rejects its rows one by one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryFile() as whole:
        if unpacked:  # Parquet is read from its end
            shutil.copyfileobj(file, whole)
        try:
            table = pq.ParquetFile(whole if unpacked else path, page_checksum_verification=True)
            counts = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
        except (pa.ArrowException, OSError, ValueError) as error:
            hint = "fetch or write the file again"
            raise Problems([Problem(str(path), f"Parquet that cannot be read: {error}", "", hint)]) from None
        done = 0
        for group, count in enumerate(counts):
            first, end = done + 1, done + count
            try:
                for batch in table.iter_batches(PARQUET_ROWS, row_groups=[group]):
                    for record in _batch_records(batch, done + 1):
                        yield record
                        done += 1
            except (pa.ArrowException, OSError, ValueError) as error:
                why = f"row group {group + 1} (records {first:,} to {end:,}) cannot be read: {error}"
                yield from (Record(number, None, "", ("ingest.parquet", why)) for number in range(done + 1, end + 1))
            done = end
    if unpacked and unpacked.cut_reason:
        yield _truncated_record(done + 1, b"", unpacked.cut_reason)


def _read_arrow(path: Path, file: io.BufferedReader, unpacked: UnpackedStream | None) -> Iterator[Record]:
    """Records of an Arrow stream, as `datasets.Dataset.save_to_disk` writes it, or of an Arrow file."""
    import pyarrow as pa

    done = 0
    try:
        if file.peek(8).startswith(b"ARROW1"):
            reader = pa.ipc.open_file(file.read() if unpacked else pa.memory_map(str(path)))
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            batches = pa.ipc.open_stream(file)
        for batch in batches:
            for record in _batch_records(batch, done + 1):
                yield record
                done += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        if not done:
            hint = "fetch or write the file again"
            raise Problems([Problem(str(path), f"Arrow that cannot be read: {error}", "", hint)]) from None
        yield _truncated_record(done + 1, b"", str(error))
        return
    if unpacked and unpacked.cut_reason:
        yield _truncated_record(done + 1, b"", unpacked.cut_reason)


def _batch_records(batch: "pa.RecordBatch", first: int) -> Iterator[Record]:
    """Records of an Arrow batch; one that is not UTF-8 does not spoil the others."""
    try:
        rows = [(row, None) for row in batch.to_pylist()]
    except (UnicodeDecodeError, ValueError, OverflowError):
        rows = [_single_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
    floats = any(word in str(batch.schema) for word in ("float", "double"))
    if "struct<" in str(batch.schema):
        rows = [
            (row and {key: without_struct_nulls(value) for key, value in row.items()}, fault) for row, fault in rows
        ]
    for number, (row, fault) in enumerate(rows, first):
        yield Record(number, row, _raw_text(row, floats) if row else "", fault)


def _single_row(batch: "pa.RecordBatch") -> tuple[dict[str, Any] | None, Fault | None]:
    try:
        return batch.to_pylist()[0], None
    except UnicodeDecodeError as error:
        return None, ("ingest.utf8", f"the record is not UTF-8: {error}")
    except (ValueError, OverflowError) as error:
        return None, ("ingest.wrong_type", str(error))


def _raw_text(row: dict[str, Any], floats: bool) -> str:
    if floats and non_finite_places(row):
        return json.dumps(row, ensure_ascii=False, default=str)  # msgspec would write NaN as null
    try:
        return ENCODE(row).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(row)
