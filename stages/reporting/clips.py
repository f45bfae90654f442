"""Text from data and models as the page shows it: cut with a mark, and nothing in it that cannot be seen.

clipped("a" * 100_000, 400) -> {"text": "aaa...", "more": 99_600}
"""

# control characters as the pictures that Unicode has of them, but line ends and tabs; HTML would drop or refuse them
CONTROL_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {0x7F: "\u2421"}
# characters that turn the direction of what follows them: shown, as a text could hide behind them
DIRECTION_MARKS = {code: f"‹U+{code:04X}›" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}

LONG, LINES = 110, 3  # characters and lines that stand on the page unfolded: style.css shows LINES of a longer text


def clip(text, width, length=None):
    """{"text": at most `width` characters, "more": how many were left out}. length: of the whole, where `text` is a part."""
    length = len(text) if length is None else length
    return {"text": text[:width], "more": max(0, length - width)}


def is_long(item: dict) -> bool:
    """True where a clipped text takes more than a few lines of a narrow column, so that the page folds it further."""
    return len(item["text"]) > LONG or item["text"].count("\n") >= LINES


def make_visible(value):
    """A text with what cannot be seen made visible; what is no text, or is markup of our own, as it is."""
    return value.translate(CONTROL_PICTURES | DIRECTION_MARKS) if type(value) is str else value
