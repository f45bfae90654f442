"""Records of a CSV file, its cells apart by commas, tabs or semicolons: every value is text, the first line that is not blank names the columns."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from stages.rows.turns import KNOWN_KEYS
from validators.problems import Problem, Problems

csv.field_size_limit(2**31 - 1)
PROSE = re.compile(r"\S\s+\S+\s+\S+\s+\S|[.?!。？！]\s*$|\n|^\s*-?\d+([.,]\d+)*\s*$")
NAME_CHARS = 64
# (line, value, raw, (check, detail) of its fault)
CsvRecord = tuple[int, dict[str, str] | None, str, tuple[str, str] | None]


def csv_records(path: Path, lines: Iterable[bytes], numbered: bool) -> Iterator[CsvRecord]:
    """(line, value, raw, fault) of each record.

    lines: the lines of the file as bytes, without a byte order mark. numbered: there is no line of names; columns are "1", "2", ...
    """
    texts = (line.decode(errors="surrogateescape") for line in lines)
    blank = []  # the lines before the first that is not
    for first in texts:
        if first.strip():
            break
        blank.append(first)
    else:
        first = ""
    taken: list[str] = []  # the lines of the record that is being read
    # spreadsheets of countries that write 0,5 for a half put semicolons between cells
    delimiter = next((mark for mark in "\t,;" if mark in first), ",")
    reader = csv.reader(_tee_lines(chain(blank, [first], texts), taken), delimiter=delimiter, strict=True)
    header, line = None, 1
    while True:
        try:
            cells, fault = next(reader), None
        except StopIteration:
            return
        except csv.Error as error:
            cells, fault = [], ("ingest.csv", f"{error}, {len(taken)} lines on")
        raw, line_after = "".join(taken).rstrip("\r\n"), line + len(taken)
        taken.clear()
        if header is None and not "".join(cells).strip() and not fault:
            pass  # blank lines before the names
        elif header is None and not fault:
            header = [str(n) for n in range(1, len(cells) + 1)] if numbered else column_names(path, line, cells)
            if numbered:
                yield _record(line, header, cells, raw, fault)
        elif cells or fault:
            yield _record(line, header or [], cells, raw, fault)
        line = line_after


def column_names(path: Path, line: int, cells: list[str]) -> list[str]:
    """The names of the columns. Raises Problems where they are doubled, or look like data."""
    where, named = f"{path}:{line}", [cell.strip() for cell in cells if cell.strip()]
    if any("\udc80" <= c <= "\udcff" for cell in named for c in cell):
        raw = ",".join(named).encode(errors="surrogateescape").decode(errors="backslashreplace")
        hint = "save the file as UTF-8"
        raise Problems([Problem(where, f"the names of the columns are not UTF-8: {raw[:200]}", "UTF-8", hint)])
    if doubled := sorted({cell for cell in named if named.count(cell) > 1}):
        hint = "name each column once"
        raise Problems([Problem(where, f"column names twice: {', '.join(map(repr, doubled))}", "names", hint)])
    if not KNOWN_KEYS & set(named) and any(len(cell) > NAME_CHARS or PROSE.search(cell) for cell in named):
        hint = "write a first line such as prompt,completion, or number them: `columns: {prompt: 1, completion: 2}`"
        found = f"the first line looks like data, not like names: {named[0][:NAME_CHARS]!r}"
        raise Problems([Problem(where, found, "the names of the columns", hint)])
    # a column without a name goes by its number
    return [cell.strip() or str(number) for number, cell in enumerate(cells, 1)]


def _tee_lines(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    """The lines, each also appended to `taken`."""
    for line in lines:
        taken.append(line)
        yield line


def _record(line: int, header: list[str], cells: list[str], raw: str, fault: tuple[str, str] | None) -> CsvRecord:
    if any("\udc80" <= c <= "\udcff" for c in raw):
        raw = raw.encode(errors="surrogateescape").decode(errors="backslashreplace")
        fault = fault or ("ingest.utf8", "the record is not UTF-8")
    elif not fault and len(cells) != len(header):
        fault = ("ingest.csv_width", f"expected {len(header)} cells, found {len(cells)}")
    return line, None if fault else dict(zip(header, cells, strict=True)), raw, fault
