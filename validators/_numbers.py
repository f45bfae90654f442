r"""The number that a text ends in, and whether two are equal, for the reward `numeric_match` and for `tilth inspect`.

last_number("9 boxes: 3/4 of 12") -> Number(12.0, 1.0)
last_number(r"5\frac{1}{2}") -> Number(5.5, 1.0); last_number("1.5 million (of 2)") -> Number(1.5, 1e6)
equal(last_number("25%"), last_number("1/4")) -> True
"""

import math
import re
from typing import NamedTuple

# what stands right behind a number and multiplies it; all other units are not read
SCALES = {
    "%": 0.01,
    "％": 0.01,
    "percent": 0.01,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "万": 1e4,
    "亿": 1e8,
}
# 5/3/2024 is a date, no fraction; 1:2:3 is no ratio, and `Q1:18` none either
NUMBER = re.compile(
    r"""(?P<sign>(?<![\d/])[-+])?(?:
        (?:(?P<whole>\d[\d,]*)(?:\ ?(?=\\)|\ |又))?(?:
            \\[dt]?frac\{(?P<latex>\d+)\}\{(?P<under>\d+)\} | (?<![\d/.])(?P<above>\d[\d,]*(?:\.\d+)?)/(?P<below>\d+(?:\.\d+)?)(?![\d/])
            | (?P<parts>\d+)分之(?P<of>\d+) )
        | (?<![\w:.])(?P<first>\d+):(?P<second>\d+)(?![\d:])
        | (?P<number>(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) )""",
    re.VERBOSE,
)
SCALE = re.compile(rf"\s?\\?({'|'.join(SCALES)})(?![a-z])", re.IGNORECASE)
REMARK = re.compile(r"(?:\([^()]*\)|（[^（）]*）)[\s.。]*\Z")


class Number(NamedTuple):
    """value: as written. scale: what a word or a sign right behind it multiplies it by, 1.0 where there is none."""

    value: float
    scale: float


def last_number(text: str) -> Number | None:
    r"""The last number of a text, or None. `1 2/7`, `1\frac{2}{7}`, `1又2/7`, `7分之9` and `9:7` are one number each.

    A remark in brackets at the end does not count, unless it holds all numbers.
    """
    text = text.replace("{,}", ",")
    remark = REMARK.search(text)
    found = list(NUMBER.finditer(text, 0, remark.start() if remark else len(text))) or list(NUMBER.finditer(text))
    if not found or (value := value_of(found[-1])) is None:
        return None
    scale = SCALE.match(text, found[-1].end())
    return Number(value, SCALES[scale[1].lower()] if scale else 1.0)


def value_of(found: re.Match[str]) -> float | None:
    """The value of a match of NUMBER; None for a fraction of zero parts."""
    part = {name: float(text.replace(",", "")) for name, text in found.groupdict().items() if text and name != "sign"}
    sign = -1.0 if found["sign"] == "-" else 1.0
    if "number" in part:
        return sign * part["number"]
    if "second" in part and not part["second"]:  # 3:00
        return sign * part["first"]
    for above, below in (("latex", "under"), ("above", "below"), ("of", "parts"), ("first", "second")):
        if above in part:
            # 7 4/3 is no mixed number
            whole = part.get("whole", 0.0) if part[above] < part[below] else 0.0
            return sign * (whole + part[above] / part[below]) if part[below] else None
    return None


def equal(a: Number | None, b: Number | None) -> bool:
    """True where two numbers are equal. `25%` equals `0.25` and `25`, `1.5 million` equals `1.5` and `1,500,000`, no `1.5 billion`."""
    if a is None or b is None:
        return False
    return close(a.value * a.scale, b.value * b.scale) or ((a.scale == 1) != (b.scale == 1) and close(a.value, b.value))


def close(a: float, b: float) -> bool:
    # a long run of digits is read as infinity, which equals infinity: it would earn the reward
    return math.isfinite(a + b) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
