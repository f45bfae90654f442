"""The elements of a JSON array, each by itself: a broken element does not spoil the others.

    elements(b'[{"a": 1}, {"a": }, {"a": 3}]') -> b'{"a": 1}', b'{"a": }', b'{"a": 3}'

msgspec splits a file that parses. Any other file is scanned: brackets are counted, strings are skipped. An element whose
brackets do not match ends where the next one begins on a line of its own, indented like the first. Objects that follow
each other without an array are elements too.
"""

import mmap
import re
import sys
from collections.abc import Iterator

import msgspec

SPACE = re.compile(rb"[\s,]*")
TOKEN = re.compile(rb'["\[\]{}]')
SCALAR = re.compile(rb"[^,\]\[{}]*")
# a raw line end ends a string too, since a string cannot contain one; possessive, so that 20 MB need no memory
STRING = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?', re.DOTALL)
FIRST_ELEMENT = re.compile(rb"\s*\[[^\S\n]*\r?(\n[ \t]*\{)(?=(\r?\n)?)")
BRACKETS = {b"}": b"{", b"]": b"["}


def elements(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, str | None]]:
    """(element, why) of each element. `why` is None, or the reason why the text after it cannot be split further.

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
    """The elements of a text that does not parse as a whole."""
    position = _match_end(SPACE, data, 0)
    array = data[position : position + 1] == b"["
    mark = _element_start(data) if array else b""
    position += array
    while (position := _match_end(SPACE, data, position)) < len(data):
        byte = data[position : position + 1]
        if byte == b"]" and array:
            position = _match_end(SPACE, data, position + 1)
            if position < len(data):
                yield bytes(data[position:]), None  # what follows the array is not a record; the caller rejects it
            return
        end, complete = _element_end(data, position, mark)
        text = bytes(data[position:end]).rstrip(b" \t\r\n,") if not complete else bytes(data[position:end])
        if end >= len(data) and (not complete or byte not in b'{["'):
            yield text, "the file ends within this record"
            return
        yield text, None
        position = end
    if array:
        yield b"", "the array is not closed: the file ends too early"


def _match_end(pattern: re.Pattern[bytes], data: bytes | mmap.mmap, start: int, limit: int = sys.maxsize) -> int:
    """The end of a pattern's match at `start`, or `start` if it does not match."""
    match = pattern.match(data, start, limit)
    return match.end() if match else start


def _element_start(data: bytes | mmap.mmap) -> bytes:
    """How an element begins after a line end, or b"" if objects within elements may begin the same way."""
    match = FIRST_ELEMENT.match(data)
    # without indents, a line with a brace may begin an object within an element
    return match[1] if match and (len(match[1]) > 2 or not match[2]) else b""


def _element_end(data: bytes | mmap.mmap, start: int, mark: bytes) -> tuple[int, bool]:
    """(end, whole) of the element at `start`; not whole if its brackets do not match."""
    limit = (data.find(mark, start) if mark else -1) + 1 or len(data)
    if data[start : start + 1] not in b'{["':
        return max(_match_end(SCALAR, data, start, limit), start + 1), True
    position, stack = start, []
    while match := TOKEN.search(data, position, limit):
        token, position = match[0], match.end()
        if token == b'"':
            position = _match_end(STRING, data, match.start(), limit)
        elif token in b"{[":
            stack.append(token)
        elif not stack or stack.pop() != BRACKETS[token]:
            # with a mark, the element ends at the next mark; without, at the bracket that does not match
            last = token == b"]" and _match_end(SPACE, data, position) == len(data)
            return match.start() if last else limit if mark else position, False
        if not stack:
            return position, True
    return limit, False
