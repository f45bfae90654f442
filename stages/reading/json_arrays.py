"""The elements of a JSON array, each by itself, so that a broken one does not take the others with it.

    elements(b'[{"a": 1}, {"a": }, {"a": 3}]') -> b'{"a": 1}', b'{"a": }', b'{"a": 3}'

A file that parses is split by msgspec. Any other is scanned: brackets are counted, strings are skipped. An element whose
brackets do not match ends where the next begins in a line of its own, indented as the first one is. Objects that
follow each other without an array are elements as well.
"""

import mmap
import re
import sys
from collections.abc import Iterator

import msgspec

SPACE = re.compile(rb"[\s,]*")
TOKEN = re.compile(rb'["\[\]{}]')
SCALAR = re.compile(rb"[^,\]\[{}]*")
# a raw line end ends a string as well, for it cannot be in one; possessive, so that 20 MB need no memory
STRING = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?', re.DOTALL)
FIRST_ELEMENT = re.compile(rb"\s*\[[^\S\n]*\r?(\n[ \t]*\{)(?=(\r?\n)?)")
BRACKETS = {b"}": b"{", b"]": b"["}


def elements(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, str | None]]:
    """(element, why) of each element; `why` is None, or says why the text after it cannot be split further.

    data: bytes or a memory map, without a byte order mark.
    """
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield from scan_elements(data)
        return
    if isinstance(items, dict):
        yield bytes(data[:]), None
    else:
        yield from ((bytes(item), None) for item in items)


def scan_elements(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, str | None]]:
    """The same for text that does not parse as a whole."""
    here = _match_end(SPACE, data, 0)
    array = data[here : here + 1] == b"["
    mark = _element_start(data) if array else b""
    here += array
    while (here := _match_end(SPACE, data, here)) < len(data):
        byte = data[here : here + 1]
        if byte == b"]" and array:
            here = _match_end(SPACE, data, here + 1)
            if here < len(data):
                yield bytes(data[here:]), None  # what follows the array is no record, and will be named as such
            return
        end, whole = _element_end(data, here, mark)
        text = bytes(data[here:end]).rstrip(b" \t\r\n,") if not whole else bytes(data[here:end])
        if end >= len(data) and (not whole or byte not in b'{["'):
            yield text, "the file ends within this record"
            return
        yield text, None
        here = end
    if array:
        yield b"", "the array is not closed: the file ends too early"


def _match_end(pattern: re.Pattern[bytes], data: bytes | mmap.mmap, start: int, limit: int = sys.maxsize) -> int:
    """Where what a pattern matches at a place ends: there itself, where it matches nothing."""
    found = pattern.match(data, start, limit)
    return found.end() if found else start


def _element_start(data: bytes | mmap.mmap) -> bytes:
    """How an element begins after a line end, where that tells elements from what is in them, else nothing."""
    found = FIRST_ELEMENT.match(data)
    # without indents, a line with a brace may begin an object within an element
    return found[1] if found and (len(found[1]) > 2 or not found[2]) else b""


def _element_end(data: bytes | mmap.mmap, start: int, mark: bytes) -> tuple[int, bool]:
    """(end, whole) of the element at `start`; not whole where its brackets do not match."""
    limit = (data.find(mark, start) if mark else -1) + 1 or len(data)
    if data[start : start + 1] not in b'{["':
        return max(_match_end(SCALAR, data, start, limit), start + 1), True
    here, stack = start, []
    while found := TOKEN.search(data, here, limit):
        token, here = found[0], found.end()
        if token == b'"':
            here = _match_end(STRING, data, found.start(), limit)
        elif token in b"{[":
            stack.append(token)
        elif not stack or stack.pop() != BRACKETS[token]:
            # with a mark, the element ends at the next; without, at the bracket that does not match
            last = token == b"]" and _match_end(SPACE, data, here) == len(data)
            return found.start() if last else limit if mark else here, False
        if not stack:
            return here, True
    return limit, False
