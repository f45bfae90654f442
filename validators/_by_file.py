"""Values of a dataset that are one for all its raw files, or other ones by pattern of their paths; days among them.

of_file({"a*": "MIT", "*": "CC0-1.0"}, "data/raw/chat/alpaca.json", "data/raw/chat") -> "MIT"
"""

import re
from datetime import date
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

RIGHTS_KEYS = ("license", "source", "consent")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
ByFile = str | dict[str, str]  # one for all raw files, or {pattern of their paths: value}


def values_of(value: ByFile | None) -> list[str]:
    """The values of a key that is one for all files, or a mapping of patterns."""
    return [] if value is None else [value] if isinstance(value, str) else list(value.values())


def value_for_file(value: ByFile | None, path: str, raw: str) -> str | None:
    """The value for a raw file: that of all, or of the first pattern that fits; None where none does. raw: of the dataset.

    A pattern fits a path from the root or from the dataset's folder, as those of `exclude` and `weights` do.
    """
    if not isinstance(value, dict):
        return value
    file, folder = PurePosixPath(path), PurePosixPath(raw)
    folder = folder if folder != file else folder.parent
    inside = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else path
    return next(
        (one for pattern, one in value.items() if fnmatchcase(path, pattern) or fnmatchcase(inside, pattern)), None
    )


def parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None


def expired_patterns(rule: ByFile, today: date) -> dict[str, str]:
    """{pattern: day} of what may no longer be used. rule: days that `check` has let pass."""
    days = rule if isinstance(rule, dict) else {"*": rule}
    return {pattern: day for pattern, day in days.items() if date.fromisoformat(day) <= today}
