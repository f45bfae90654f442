"""Values of a dataset that are one for all its raw files, or other ones by pattern of their paths; days among them.

    of_file({"a*": "MIT", "*": "CC0-1.0"}, "data/raw/chat/alpaca.json", "data/raw/chat") -> "MIT"
"""

import re
from datetime import date
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

KEYS = ("license", "source", "consent")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def values_of(value):
    """The values of a key that is one for all files, or a mapping of patterns."""
    return [] if value is None else [value] if isinstance(value, str) else list(value.values())


def of_file(value, path, raw):
    """The value for a raw file: that of all, or of the first pattern that fits; None where none does. raw: of the dataset.

    A pattern fits a path from the root or from the dataset's folder, as those of `exclude` and `weights` do.
    """
    if not isinstance(value, dict):
        return value
    file, folder = PurePosixPath(path), PurePosixPath(raw)
    folder = folder if folder != file else folder.parent
    inside = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else path
    return next((one for pattern, one in value.items() if fnmatchcase(path, pattern) or fnmatchcase(inside, pattern)), None)


def day_of(text):
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None


def expired(rule, today):
    """{pattern: day} of what may no longer be used. rule: a day for all files, or {pattern: day}."""
    days = rule if isinstance(rule, dict) else {"*": rule}
    return {pattern: day for pattern, day in days.items() if day_of(day) <= today}
