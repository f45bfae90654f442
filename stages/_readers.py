"""Raw files as records: what a file is, is seen from its content, never from its name.

    records(path) -> Record(line, value, raw, fault)

`line` is the 1-based line of a JSON lines or CSV record, the record's number in a JSON array. A record that cannot be
read keeps its raw text and says why in `fault`: nothing is skipped but blank lines.
"""

import csv
import io
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from validators._problems import Problem, Problems

BOM = b"\xef\xbb\xbf"
LFS = b"version https://git-lfs.github.com/spec/"
csv.field_size_limit(2**31 - 1)


@dataclass(slots=True)
class Record:
    line: int
    value: dict | None
    raw: str
    fault: tuple[str, str] | None = None  # (check, detail)


def raw_files(raw, where="raw"):
    """The files of a dataset, sorted by path; hidden files are not data.

    raw: a file or a folder, relative to the root. Raises Problems if there is none.
    """
    path = Path(raw)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Problems(
            [
                Problem(
                    where,
                    f"{raw!r} does not exist",
                    "a file or a folder with raw data",
                    "put the data there; the path is relative to the folder of params.yaml",
                )
            ]
        )
    listed = [found for found in path.rglob("*") if not _hidden(found.relative_to(path)) and found.suffix != ".dvc"]
    if broken := sorted(found for found in listed if found.is_symlink() and not found.is_file()):
        raise Problems(
            [
                Problem(str(link), "a link to a folder, or to nothing", "a file", "dvc pull, git annex get, or copy it")
                for link in broken
            ]
        )
    files = sorted(found for found in listed if found.is_file())
    if not files:
        raise Problems(
            [
                Problem(
                    where,
                    f"{raw!r} holds no file",
                    "at least one JSON, JSON lines or CSV file",
                    "put the data there, or remove the dataset from params.yaml",
                )
            ]
        )
    return files


def _hidden(path):
    return any(part.startswith(".") for part in path.parts)


def container(path):
    """`jsonl`, `json` or `csv`, from the first bytes of the file. Raises Problems for what is not data."""
    with open(path, "rb") as file:
        head = file.read(65536)
    if not head.strip():
        raise Problems([Problem(str(path), "the file is empty", "at least one record", "remove the file")])
    if head.startswith(LFS):
        raise Problems([Problem(str(path), "a Git LFS pointer, not the data", "the file itself", "git lfs pull")])
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _mostly_not_utf8(head):
        raise Problems(
            [
                Problem(
                    str(path),
                    "the text is not UTF-8",
                    "UTF-8",
                    f"iconv -f ENCODING -t UTF-8 {path} > new; ENCODING is often UTF-16 or WINDOWS-1252",
                )
            ]
        )
    head = head.removeprefix(BOM).lstrip()
    if head.startswith(b"["):
        return "json"
    return ("jsonl" if _objects_end_in_their_lines(path) else "json") if head.startswith(b"{") else "csv"


def _mostly_not_utf8(head):
    """True where lines that are not UTF-8 outnumber other lines with accents: a wrong encoding, not a broken record."""
    lines = [line for line in head.split(b"\n") if not line.isascii()]
    bad = sum(not _is_utf8(line) for line in lines)
    return bad > len(lines) - bad and (bad > 1 or head.count(b"\n") < 4)


def _is_utf8(line):
    try:
        line.decode()
    except UnicodeDecodeError as error:
        # the head of a file may cut its only line within a character
        return error.end >= len(line) and len(line) - error.start < 4
    return True


def _objects_end_in_their_lines(path):
    """False for one object printed over many lines; a broken first line does not make the others unreadable."""
    with open(path, "rb") as file:
        lines = [line for line in (raw.removeprefix(BOM) for raw in islice(file, 1000)) if line.strip()]
    return _parses(lines[0]) or any(line.startswith(b"{") and _parses(line) for line in lines)


def _parses(line):
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def records(path):
    """Every record of a raw file, readable or not, in file order."""
    readers = {"jsonl": _json_lines, "json": _json_array, "csv": _csv}
    yield from readers[container(path)](path)


def _json_lines(path):
    with open(path, "rb") as file:
        yield from (record_of(number, line) for number, line in _numbered(file, 1))


def read_lines(part):
    """(line number, bytes) of each line of a part that is not blank."""
    with open(part.path, "rb") as file:
        file.seek(part.start)
        yield from _numbered(io.BytesIO(file.read(part.end - part.start)), part.line)


def _numbered(file, first):
    for number, line in enumerate(file, first):
        if number == 1:
            line = line.removeprefix(BOM)
        # only "\n" ends a line: a lone "\r" is data, and "\r\n" is white space to JSON
        if (line := line.rstrip(b"\r\n")) and not line.isspace():
            yield number, line


def _json_array(path):
    text = path.read_bytes().removeprefix(BOM)
    try:
        items = msgspec.json.decode(
            text, type=list[msgspec.Raw] | msgspec.Raw if text.lstrip()[:1] == b"[" else msgspec.Raw
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problems(
            [
                Problem(
                    str(path),
                    f"the JSON does not parse: {error}",
                    "a JSON array of objects, or JSON lines",
                    "mend the file, or write one object a line so that only the broken ones are lost",
                )
            ]
        ) from None
    for number, item in enumerate(items if isinstance(items, list) else [items], 1):
        yield record_of(number, bytes(item))


def record_of(number, raw):
    """One JSON value as a record: its bytes, what they say, or why that cannot be known."""
    try:
        raw.isascii() or raw.decode()
        value = msgspec.json.decode(raw)
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
            number, None, raw.decode(), ("ingest.not_an_object", f"expected an object, found {type(value).__name__}")
        )
    return Record(number, value, raw.decode())


def _csv(path):
    """Records of a CSV or TSV file with a header line; every value is text."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        delimiter = "\t" if "\t" in file.readline() else ","
        file.seek(0)
        taken = []  # the lines of the record that is being read
        reader = csv.reader(_kept(file, taken), delimiter=delimiter, strict=True)
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
            if header is None and cells:
                header = cells
            elif cells or fault:
                yield _csv_record(line, header or [], cells, raw, fault)
            line = line_after


def _kept(lines, taken):
    """The lines, each also appended to `taken`."""
    for line in lines:
        taken.append(line)
        yield line


def _csv_record(line, header, cells, raw, fault):
    if any("\udc80" <= c <= "\udcff" for c in raw):
        raw = raw.encode(errors="surrogateescape").decode(errors="backslashreplace")
        fault = fault or ("ingest.utf8", "the record is not UTF-8")
    elif not fault and len(cells) != len(header):
        fault = ("ingest.csv_width", f"expected {len(header)} cells, found {len(cells)}")
    return Record(line, None if fault else dict(zip(header, cells, strict=True)), raw, fault)
