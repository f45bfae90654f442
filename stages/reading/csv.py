"""Records of a CSV file with commas, tabs or semicolons. Every value is text. The first line that is not blank is the header."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from stages.rows.turns import KNOWN_KEYS
from stages.rows.types import Fault
from validators.problems import Problem, Problems

csv.field_size_limit(2**31 - 1)
PROSE = re.compile(r"\S\s+\S+\s+\S+\s+\S|[.?!。？！]\s*$|\n|^\s*-?\d+([.,]\d+)*\s*$")
NAME_CHARS = 64
# (line, value, raw, fault)
CsvRecord = tuple[int, dict[str, str] | None, str, Fault | None]


def csv_records(path: Path, lines: Iterable[bytes], numbered: bool) -> Iterator[CsvRecord]:
    """(line, value, raw, fault) of each record.

    lines: the lines of the file as bytes, without a byte order mark. numbered: there is no header; columns are "1", "2", ...
    """
    texts = (line.decode(errors="surrogateescape") for line in lines)
    blank = []  # the blank lines at the start
    for first in texts:
        if first.strip():
            break
        blank.append(first)
    else:
        first = ""
    record_lines: list[str] = []  # the lines of the record that is being read
    # spreadsheets separate cells by semicolons in countries that write 0,5 for a half
    delimiter = next((mark for mark in "\t,;" if mark in first), ",")
    reader = csv.reader(_tee_lines(chain(blank, [first], texts), record_lines), delimiter=delimiter, strict=True)
    header, line = None, 1
    while True:
        try:
            cells, fault = next(reader), None
        except StopIteration:
            return
        except csv.Error as error:
            cells, fault = [], ("ingest.csv", f"{error}, {len(record_lines)} lines on")
        raw, line_after = "".join(record_lines).rstrip("\r\n"), line + len(record_lines)
        record_lines.clear()
        if header is None and not "".join(cells).strip() and not fault:
            pass  # blank lines before the header
        elif header is None and not fault:
            header = [str(n) for n in range(1, len(cells) + 1)] if numbered else column_names(path, line, cells)
            if numbered:
                yield _record(line, header, cells, raw, fault)
        elif cells or fault:
            yield _record(line, header or [], cells, raw, fault)
        line = line_after


def column_names(path: Path, line: int, cells: list[str]) -> list[str]:
    """The names of the columns. Raises Problems if a name comes twice, or if they look like data."""
    where, names = f"{path}:{line}", [cell.strip() for cell in cells if cell.strip()]
    if any("\udc80" <= c <= "\udcff" for cell in names for c in cell):
        raw = ",".join(names).encode(errors="surrogateescape").decode(errors="backslashreplace")
        hint = "save the file as UTF-8"
        raise Problems([Problem(where, f"the names of the columns are not UTF-8: {raw[:200]}", "UTF-8", hint)])
    if doubled := sorted({cell for cell in names if names.count(cell) > 1}):
        hint = "name each column once"
        raise Problems([Problem(where, f"column names twice: {', '.join(map(repr, doubled))}", "names", hint)])
    if not KNOWN_KEYS & set(names) and any(len(cell) > NAME_CHARS or PROSE.search(cell) for cell in names):
        hint = "write a first line such as prompt,completion, or number them: `columns: {prompt: 1, completion: 2}` (tilth inspect --columns)"
        what = f"the first line looks like data, not like names: {names[0][:NAME_CHARS]!r}"
        raise Problems([Problem(where, what, "the names of the columns", hint)])
    # a column without a name gets its number
    return [cell.strip() or str(number) for number, cell in enumerate(cells, 1)]


def _tee_lines(lines: Iterable[str], copies: list[str]) -> Iterator[str]:
    """The lines, each also appended to `copies`."""
    for line in lines:
        copies.append(line)
        yield line


def _record(line: int, header: list[str], cells: list[str], raw: str, fault: Fault | None) -> CsvRecord:
    if any("\udc80" <= c <= "\udcff" for c in raw):
        raw = raw.encode(errors="surrogateescape").decode(errors="backslashreplace")
        fault = fault or ("ingest.utf8", "the record is not UTF-8")
    elif not fault and len(cells) != len(header):
        fault = ("ingest.csv_width", f"expected {len(header)} cells, found {len(cells)}")
    return line, None if fault else dict(zip(header, cells, strict=True)), raw, fault
