"""Text from data and models as the page shows it: cut to a length, with invisible characters made visible.

clip("a" * 100_000, 400) -> {"text": "aaa...", "more": 99_600}
"""

from typing import TypedDict


class Clip(TypedDict):
    """The beginning of a text, and how many characters follow it."""

    text: str
    more: int


# control characters, except line ends and tabs, as Unicode's pictures of them; HTML would drop or refuse them
CONTROL_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {0x7F: "\u2421"}
# characters that change the direction of the text after them; they are shown because a text could hide behind them
DIRECTION_MARKS = {code: f"‹U+{code:04X}›" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}

LONG, LINES = 110, 3  # most characters and lines of a text that is not folded; style.css shows LINES of a longer one


def clip(text: str, width: int, length: int | None = None) -> Clip:
    """The first `width` characters of a text, and how many follow. length: of the whole text, where `text` is its beginning."""
    length = len(text) if length is None else length
    return {"text": text[:width], "more": max(0, length - width)}


def is_long(item: Clip) -> bool:
    """True where a clipped text takes more than a few lines of a narrow column. The page folds it."""
    return len(item["text"]) > LONG or item["text"].count("\n") >= LINES


def make_visible(value: object) -> object:
    """A text with its invisible characters shown. Anything else stays as it is, and so does Markup."""
    return value.translate(CONTROL_PICTURES | DIRECTION_MARKS) if type(value) is str else value
