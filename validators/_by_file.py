"""Keys of a dataset that have one value for all its raw files, or one for each pattern of their paths; also days.

value_for_file({"a*": "MIT", "*": "CC0-1.0"}, "data/raw/chat/alpaca.json", "data/raw/chat") -> "MIT"
"""

import re
from datetime import date
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

RIGHTS_KEYS = ("license", "source", "consent")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
ByFile = str | dict[str, str]  # one value for all raw files, or {pattern of paths: value}


def values_of(value: ByFile | None) -> list[str]:
    """All values of such a key, as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value.values())


def value_for_file(value: ByFile | None, path: str, raw: str) -> str | None:
    """The value for one raw file: the first pattern that matches decides. None where no pattern matches.

    A pattern matches the path from the project's root or from the dataset's folder, as in `exclude` and `weights`.
    raw: the dataset's `raw`, a file or a folder.
    """
    if not isinstance(value, dict):
        return value
    file, folder = PurePosixPath(path), PurePosixPath(raw)
    folder = folder if folder != file else folder.parent
    inside = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else path
    matches = (one for pattern, one in value.items() if fnmatchcase(path, pattern) or fnmatchcase(inside, pattern))
    return next(matches, None)


def parse_day(text: str) -> date | None:
    """The date of a text YYYY-MM-DD, None for any other text."""
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None


def expired_patterns(rule: ByFile, today: date) -> dict[str, str]:
    """{pattern: day} of the files whose day has come. rule: days that `check` has accepted."""
    days = rule if isinstance(rule, dict) else {"*": rule}
    return {pattern: day for pattern, day in days.items() if date.fromisoformat(day) <= today}
