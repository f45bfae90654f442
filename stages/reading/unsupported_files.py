"""Files that are not a table of records, each with its name: archives, databases, models, links, text in another encoding.

    unsupported_problem(path, b"SQLite format 3\\0...") -> Problem(path, "an SQLite database", "JSON, CSV or Parquet", "...")

Read as text, the first row of each file in a tar archive would be lost, and a pickle would be a table of one column.
"""

import re
import tarfile
import zipfile
from pathlib import Path
from typing import cast

from validators.problems import Problem, Problems

UNKNOWN_ENCODING = "ENCODING"
EXPECTED = "JSON, CSV, Parquet or Arrow"
MAGIC_STARTS = {
    b"version https://git-lfs.github.com/spec/": ("a Git LFS pointer, not the data", "git lfs pull"),
    b"/annex/objects/": ("a pointer of git-annex, not the data", "git annex get"),
    b"BZh": ("packed with bzip2", "bunzip2 the file"),
    b"\xfd7zXZ": ("packed with xz", "unxz the file"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it, and name the folder in `raw:`"),
    b"Rar!": ("a RAR archive", "unpack it, and name the folder in `raw:`"),
    b"SQLite format 3\0": ("an SQLite database", "sqlite3 -json FILE 'SELECT * FROM table' > data.json"),
    b"\x93NUMPY": ("a NumPy array", "save its records as JSON lines"),
    b"\x89HDF": ("an HDF5 file", "save its records as Parquet"),
    b"GGUF": ("a GGUF model", "models go to `base.model`"),
    b"%PDF-": ("a PDF document", "save its text as records"),
    b"PK\x05\x06": ("an empty ZIP archive", "remove the file"),
}
PICKLE = re.compile(rb"\x80[\x02-\x05]")  # protocols 2 to 5
# no row is lost if this is wrong: a text of one line is only a header, without records
LINK = re.compile(
    r"\.{0,2}/[^\n\t,]+|[^\s,;|{}\[\]\"]+/[^\s,;|{}\[\]\"]+|[^\s,;|{}\[\]\"]+\.(jsonl?|csv|tsv|parquet|arrow|gz|zst)"
)


def unsupported_problem(path: Path, head: bytes) -> Problem | None:
    """The Problem of a file that is not a table of records, or None. head: its first bytes, unpacked."""
    for start, (what, hint) in MAGIC_STARTS.items():
        if head.startswith(start):
            return Problem(str(path), what, EXPECTED, hint)
    if PICKLE.match(head):
        # unpickling runs whatever code the file holds
        what = "a pickle, which can run code when it is read"
        return Problem(str(path), what, EXPECTED, "save its records as JSON lines or Parquet")
    if is_tar(head):
        return Problem(str(path), "a tar archive", EXPECTED, "unpack it (tar xf), and name the folder in `raw:`")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27:
        return Problem(str(path), "a safetensors file: weights, not records", EXPECTED, "models go to `base.model`")
    if target := link_target(head):
        hint = "git config core.symlinks true, then check it out again; or put the file itself there"
        return Problem(
            str(path), f"a link of git, checked out as text: it leads to {target!r}", "the file itself", hint
        )
    if encoding := other_encoding(head):
        unknown = encoding == UNKNOWN_ENCODING
        hint = f"iconv -f {encoding} -t UTF-8 {path} > new" + "; ENCODING is often WINDOWS-1252" * unknown
        return Problem(str(path), "the text is not UTF-8" + f" but {encoding}" * (not unknown), "UTF-8", hint)
    if mostly_nul(head):
        hint = "fetch the file again, or save its records as JSON lines"
        return Problem(str(path), "bytes 0, which no text has", EXPECTED, hint)
    return None


def is_tar(head: bytes) -> bool:
    """True for the first block of a tar archive: no text has its checksum."""
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def link_target(head: bytes) -> str:
    """The target of a link that git wrote as one line of text without a line end, else ""."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return ""
    return text if len(text) < 4096 and LINK.fullmatch(text) else ""


# -- encodings --------------------------------------------------------------------------------------------------------


def other_encoding(head: bytes) -> str:
    """The name of an encoding that is not UTF-8, UNKNOWN_ENCODING if it cannot be named, "" for UTF-8."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    limit = 0.4 * len(head) / 2
    if len(head) > 3 and max(even, odd) > limit and min(even, odd) < limit / 10:
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return UNKNOWN_ENCODING if mostly_not_utf8(head) else ""


def mostly_not_utf8(head: bytes) -> bool:
    """True if lines that are not UTF-8 outnumber other lines with accents: a wrong encoding, not a broken record."""
    lines = [line for line in head.split(b"\n") if not line.isascii()]
    bad = sum(not is_utf8(line) for line in lines)
    return bad > len(lines) - bad and (bad > 1 or head.count(b"\n") < 4)


def is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        # the first bytes of a file may end within a character
        return error.end >= len(line) and len(line) - error.start < 4
    return True


def mostly_nul(head: bytes) -> bool:
    """True if the first line, or most lines, have bytes 0. One broken record is no reason to refuse a file."""
    lines = head.split(b"\n")
    return b"\0" in lines[0] or 2 * sum(b"\0" in line for line in lines) > len(lines)


# -- ZIP archives -----------------------------------------------------------------------------------------------------


def open_zip_table(path: Path) -> tuple[zipfile.ZipFile, zipfile.ZipExtFile, zipfile.ZipInfo]:
    """(archive, file in it, its entry) of a ZIP archive with one table. Raises Problems for any other archive, with what is in it."""
    try:
        archive = zipfile.ZipFile(path)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if reason := unsupported_archive(names):
            archive.close()
            raise Problems([Problem(str(path), *reason)])
        return archive, cast(zipfile.ZipExtFile, archive.open(names[0])), archive.getinfo(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        hint = "fetch the file again, or unpack it"
        raise Problems([Problem(str(path), f"a ZIP archive that cannot be read: {error}", EXPECTED, hint)]) from None


def unsupported_archive(names: list[str]) -> tuple[str, str, str] | None:
    """(what, expected, hint) of an archive that is not one packed table, else None."""
    if "[Content_Types].xml" in names:
        return "a spreadsheet or another office document", EXPECTED, "save the sheet as CSV"
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "a pickle of PyTorch, which can run code when it is read", EXPECTED, "save its records as JSON lines"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays", EXPECTED, "save their records as JSON lines"
    if len(names) != 1:
        some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        hint = "unpack it, and name the folder in `raw:`"
        return f"a ZIP archive of {len(names):,} files ({some})", "one table in it", hint
    return None
