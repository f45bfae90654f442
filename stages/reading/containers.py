"""The container of a raw file, seen from its first bytes, and its bytes as a stream, unpacked if they are packed.

    detect_container(path) -> "jsonl", "json", "csv", "parquet" or "arrow", plus ".gz", ".zst" or ".zip" if it is packed

A packed file that ends too early or is damaged gives the bytes before that place; `cut_reason` says why they end there.
A file that is not a table of records is refused, with the name of its format (unsupported_files.py).
"""

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stages.reading.json_values import decode_json
from stages.reading.unsupported_files import open_zip_table, unsupported_problem
from stages.reading.wrapped_tables import records_in
from validators.problems import Problem, Problems

BOM = b"\xef\xbb\xbf"
GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
ARROW = (b"\xff\xff\xff\xff", b"ARROW1\0\0")  # a stream, as `datasets` writes it; a file, as `feather` does
ZIP = b"PK\x03\x04"
PACKING_SUFFIXES = {GZIP: ".gz", ZSTD: ".zst", ZIP: ".zip"}
CONTAINER_NAMES = {"jsonl": "JSON lines", "json": "a JSON array", "csv": "CSV", "parquet": "Parquet", "arrow": "Arrow"}
CHUNK_BYTES = 4096  # zstd can unpack these to 128 MB at most
BOMB_BYTES, BOMB_RATIO = 100 * 2**20, 200


class UnpackedFile(io.RawIOBase):
    """The unpacked bytes of a gzip or zstd file, in pieces; `cut_reason` says why they end too early."""

    def __init__(self, path: Path, start: bytes) -> None:
        self.path, self.start, self.file = path, start, open(path, "rb")  # noqa: SIM115
        self.unpacker: Any = None  # of zlib or zstandard, which share no class
        self.cut_reason, self.rest, self.piece, self.packed_bytes, self.unpacked_bytes = "", b"", b"", 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # ty: ignore[incompatible-method-override]  # BufferedReader passes a memoryview
        while not self.piece and not self.cut_reason and self._unpack_next():
            pass
        size = min(len(buffer), len(self.piece))
        buffer[:size], self.piece = self.piece[:size], self.piece[size:]
        return size

    def _unpack_next(self) -> bool:
        """Unpack the next bytes into `piece`; False at the end of the file."""
        if not self.rest:
            self.rest = self.file.read(CHUNK_BYTES)
            self.packed_bytes += len(self.rest)
        if not self.rest:
            self.cut_reason = f"the packed file ends here, in its middle (after {self.packed_bytes:,} bytes)" * bool(
                self.unpacker
            )
            return False
        unpacker, self.unpacker = self.unpacker or _new_unpacker(self.start), None
        before = unpacker.copy() if self.start == GZIP else None
        try:
            self.piece = unpacker.decompress(self.rest)
        except Exception as error:  # zlib.error, zstandard.ZstdError: no common class
            self.piece = _unpack_until_damage(before, self.rest) if before else b""
            self.cut_reason = (
                f"the packed file is damaged from here on (within its first {self.packed_bytes:,} bytes): {error}"
            )
            return bool(self.piece)
        self.rest = unpacker.unused_data if unpacker.eof else b""
        self.unpacker = None if unpacker.eof else unpacker
        if unpacker.eof and not self.rest.strip(b"\0"):
            self.rest = b""  # padding
        self.unpacked_bytes += len(self.piece)
        stop_zip_bomb(self.path, self.packed_bytes, self.unpacked_bytes)
        return True

    def close(self) -> None:
        self.file.close()
        super().close()


def stop_zip_bomb(path: Path, packed_bytes: int, unpacked_bytes: int) -> None:
    if unpacked_bytes > BOMB_BYTES and unpacked_bytes > BOMB_RATIO * packed_bytes:
        what = f"{packed_bytes:,} bytes unpack to {unpacked_bytes:,} or more: a zip bomb, or not data"
        hint = "if the size is right, unpack the file yourself"
        raise Problems([Problem(str(path), what, f"at most {BOMB_RATIO} times as much", hint)])


class ZipMember(io.RawIOBase):
    """The bytes of the only file in a ZIP archive; `cut_reason` says why they end too early."""

    def __init__(self, path: Path) -> None:
        self.cut_reason, self.start = "", ZIP
        self.archive, self.file, info = open_zip_table(path)
        stop_zip_bomb(path, info.compress_size, info.file_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # ty: ignore[incompatible-method-override]  # BufferedReader passes a memoryview
        try:
            piece = self.file.read1(min(len(buffer), CHUNK_BYTES))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            self.cut_reason, piece = f"the ZIP archive is damaged from here on: {error}", b""
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.file.close()
        self.archive.close()
        super().close()


UnpackedStream = UnpackedFile | ZipMember


def _new_unpacker(start: bytes) -> Any:
    if start == GZIP:
        return zlib.decompressobj(wbits=31)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _unpack_until_damage(unpacker: Any, data: bytes) -> bytes:
    """The unpacked bytes before the first damaged byte. Of a piece with such a byte, zlib itself gives nothing."""
    pieces = []
    with contextlib.suppress(zlib.error):
        for index in range(len(data)):
            pieces.append(unpacker.decompress(data[index : index + 1]))
    return b"".join(pieces)


@contextlib.contextmanager
def open_raw(path: Path) -> "Iterator[tuple[io.BufferedReader[Any], UnpackedStream | None]]":
    """(file, unpacked) of a raw file: its bytes as a buffered file, and the stream below it, or None if it is not packed."""
    with open(path, "rb") as file:
        head = file.read(4)
        start = next(
            (
                magic
                for magic in PACKING_SUFFIXES
                if head.startswith(magic) or (len(head) > 1 and magic.startswith(head))
            ),
            None,
        )
        if not start:
            file.seek(0)
            yield file, None
            return
    packed: UnpackedStream = ZipMember(path) if start == ZIP else UnpackedFile(path, start)
    with packed as raw, io.BufferedReader(raw, 2**18) as file:
        if not file.peek(1) and raw.cut_reason:
            raise Problems([Problem(str(path), raw.cut_reason, "a whole packed file", "fetch the file again")])
        yield file, raw


def detect_container(path: Path) -> str:
    """The container of a file, from its first bytes. Raises Problems if it is not data."""
    with open_raw(path) as (file, unpacked):
        head = file.read(65536)
        container = _binary_container(path, head, unpacked) or _text_container(head.removeprefix(BOM), file)
    return container + (PACKING_SUFFIXES[unpacked.start] if unpacked else "")


def describe_container(container: str) -> str:
    """A container in words: `JSON lines in gzip`."""
    name, _, packed = container.partition(".")
    return CONTAINER_NAMES[name] + {"": "", "gz": " in gzip", "zst": " in zstd", "zip": " in ZIP"}[packed]


def _binary_container(path: Path, head: bytes, packed: UnpackedStream | None) -> str | None:
    """The container of a file by its magic bytes, or None for text. Raises Problems if it is not data."""
    if not head.removeprefix(BOM).strip():
        raise Problems([Problem(str(path), "the file is empty", "at least one record", "remove the file")])
    if head.startswith((GZIP, ZSTD)) or (head.startswith(ZIP) and packed):
        raise Problems([Problem(str(path), "packed twice", "packed once", "unpack it once")])
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith(ARROW):
        return "arrow"
    if problem := unsupported_problem(path, head):
        raise Problems([problem])
    return None


def _text_container(head: bytes, file: io.BufferedReader) -> str:
    """JSON lines, a JSON array or CSV. A broken first line does not change the answer."""
    *whole, last = head.split(b"\n")
    lines = [line for line in [*whole, last] if line.strip()]
    if head.lstrip().startswith(b"{"):
        # one object may be printed over many lines
        lines = (line for line in [*whole, last + file.readline(), *islice(file, 1000)] if line.strip())
        first = next(lines)
        if any(map(_is_object, lines)):
            return "jsonl"
        return "json" if not _parses(first) or records_in(decode_json(first)) is not None else "jsonl"
    objects = sum(map(_is_object, lines))
    if head.lstrip().startswith(b"["):
        # the last element of an array may be alone on its line
        return "jsonl" if objects > (not _parses(lines[0])) else "json"
    return "jsonl" if objects else "csv"


def _is_object(line: bytes) -> bool:
    return line.startswith(b'{"') and _parses(line)


def _parses(line: bytes) -> bool:
    try:
        decode_json(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return False
    return True
