"""What a raw file is, told from its first bytes, and its bytes as a stream, unpacked where they are packed.

    container(path) -> "jsonl", "json", "csv" or "parquet", with ".gz" or ".zst" behind it where packed

A packed file that ends too early, or is damaged, gives what comes before that place; `cut` says why it ends there.
"""

import contextlib
import io
import zlib
from itertools import islice

import msgspec

from validators.problems import Problem, Problems

BOM = b"\xef\xbb\xbf"
GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
NOT_READ = {
    b"version https://git-lfs.github.com/spec/": ("a Git LFS pointer, not the data", "the file itself", "git lfs pull"),
    b"PK\x03\x04": ("a ZIP archive or a spreadsheet", "JSON, CSV or Parquet", "unpack it, or save the sheet as CSV"),
    b"BZh": ("packed with bzip2", "gzip, zstd or nothing", "bunzip2 the file"),
    b"\xfd7zXZ": ("packed with xz", "gzip, zstd or nothing", "unxz the file"),
    b"ARROW1": ("an Arrow file", "JSON, CSV or Parquet", "save it with Dataset.to_parquet"),
}
NAMES = {"jsonl": "JSON lines", "json": "a JSON array", "csv": "CSV", "parquet": "Parquet"}
CHUNK_BYTES = 4096  # zstd can make 128 MB of these, no more
BOMB_BYTES, BOMB_RATIO = 100 * 2**20, 200


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a gzip or zstd file, in pieces; `cut` says why they end where they should not."""

    def __init__(self, path, start):
        self.path, self.start, self.file = path, start, open(path, "rb")  # noqa: SIM115
        self.cut, self.unpacker, self.rest, self.piece, self.read_in, self.made = "", None, b"", b"", 0, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self.piece and not self.cut and self._more():
            pass
        size = min(len(buffer), len(self.piece))
        buffer[:size], self.piece = self.piece[:size], self.piece[size:]
        return size

    def _more(self):
        """Unpack the next bytes into `piece`; False at the end of the file."""
        if not self.rest:
            self.rest = self.file.read(CHUNK_BYTES)
            self.read_in += len(self.rest)
        if not self.rest:
            self.cut = f"the packed file ends here, in its middle (after {self.read_in:,} bytes)" * bool(self.unpacker)
            return False
        unpacker, self.unpacker = self.unpacker or _unpacker(self.start), None
        before = unpacker.copy() if self.start == GZIP else None
        try:
            self.piece = unpacker.decompress(self.rest)
        except Exception as error:  # zlib.error, zstandard.ZstdError: no common class
            self.piece = _up_to_the_damage(before, self.rest) if before else b""
            self.cut = f"the packed file is damaged from here on (within its first {self.read_in:,} bytes): {error}"
            return bool(self.piece)
        self.rest = unpacker.unused_data if unpacker.eof else b""
        self.unpacker = None if unpacker.eof else unpacker
        if unpacker.eof and not self.rest.strip(b"\0"):
            self.rest = b""  # padding
        self.made += len(self.piece)
        self._stop_bombs()
        return True

    def _stop_bombs(self):
        if self.made > BOMB_BYTES and self.made > BOMB_RATIO * self.read_in:
            found = f"{self.read_in:,} bytes unpack to more than {self.made:,}: a zip bomb, or not data"
            hint = "if it is meant to be so, unpack it yourself"
            raise Problems([Problem(str(self.path), found, f"at most {BOMB_RATIO} times as much", hint)])

    def close(self):
        self.file.close()
        super().close()


def _unpacker(start):
    if start == GZIP:
        return zlib.decompressobj(wbits=31)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _up_to_the_damage(unpacker, data):
    """What zlib makes of packed bytes before the one that it cannot use; it gives nothing of a piece with such a byte."""
    pieces = []
    with contextlib.suppress(zlib.error):
        for at in range(len(data)):
            pieces.append(unpacker.decompress(data[at : at + 1]))
    return b"".join(pieces)


@contextlib.contextmanager
def opened(path):
    """(file, unpacked) of a raw file: its bytes as a buffered file, and the Unpacked below it or None."""
    with open(path, "rb") as file:
        head = file.read(4)
        start = next(
            (magic for magic in (GZIP, ZSTD) if head.startswith(magic) or (len(head) > 1 and magic.startswith(head))),
            None,
        )
        if not start:
            file.seek(0)
            yield file, None
            return
    with Unpacked(path, start) as raw, io.BufferedReader(raw, 2**18) as file:
        if not file.peek(1) and raw.cut:
            raise Problems([Problem(str(path), raw.cut, "a gzip or zstd file", "fetch the file again")])
        yield file, raw


def container(path):
    """What a file is, from its first bytes. Raises Problems for what is not data."""
    with opened(path) as (file, unpacked):
        head = file.read(65536)
        kind = _kind(path, head) or _kind_of_text(head.removeprefix(BOM), file)
    return kind + ({GZIP: ".gz", ZSTD: ".zst"}[unpacked.start] if unpacked else "")


def described(kind):
    """A container in words: `JSON lines in gzip`."""
    name, _, packed = kind.partition(".")
    return NAMES[name] + {"": "", "gz": " in gzip", "zst": " in zstd"}[packed]


def _kind(path, head):
    """What a file is by its magic bytes, or None for text. Raises Problems for what is not data."""
    if not head.removeprefix(BOM).strip():
        raise Problems([Problem(str(path), "the file is empty", "at least one record", "remove the file")])
    if head.startswith((GZIP, ZSTD)):
        raise Problems([Problem(str(path), "packed twice", "packed once", "unpack it once")])
    for start, problem in NOT_READ.items():
        if head.startswith(start):
            raise Problems([Problem(str(path), *problem)])
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _mostly_not_utf8(head):
        hint = f"iconv -f ENCODING -t UTF-8 {path} > new; ENCODING is often UTF-16 or WINDOWS-1252"
        raise Problems([Problem(str(path), "the text is not UTF-8", "UTF-8", hint)])
    return None


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


def _kind_of_text(head, file):
    """JSON lines, a JSON array or CSV; a broken first line does not make another container of the file."""
    *whole, last = head.split(b"\n")
    lines = [line for line in [*whole, last] if line.strip()]
    if head.lstrip().startswith(b"{"):
        # one object may be printed over many lines
        lines = (line for line in [*whole, last + file.readline(), *islice(file, 1000)] if line.strip())
        return "jsonl" if _parses(next(lines)) or any(map(_is_object, lines)) else "json"
    objects = sum(map(_is_object, lines))
    if head.lstrip().startswith(b"["):
        # the last element of an array may well stand alone in its line
        return "jsonl" if objects > (not _parses(lines[0])) else "json"
    return "jsonl" if objects else "csv"


def _is_object(line):
    return line.startswith(b'{"') and _parses(line)


def _parses(line):
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
