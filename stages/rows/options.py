"""What a dataset's entry in params.yaml says about reading its records: names of columns, a system turn, a pattern."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from stages.rows.columns import Names, as_list
from stages.rows.values import Unreadable
from validators.problems import Problem, Problems

PATTERN_TIMEOUT_S = 5


@dataclass(frozen=True)
class Options:
    """Data only, so that it can be sent to other processes. columns: {wanted name: name in the file, or its number}."""

    columns: dict[str, Names] = field(default_factory=dict)
    format: str | None = None
    system: str | None = None
    ground_truth_pattern: str | None = None
    reasoning: str | None = None  # `drop` or `last_turn`: which thoughts are left out; `mask` is only for training
    pairs: str | None = None  # `all` pairs of scored answers, instead of the best against the worst
    margin: float | None = None  # by which their scores must differ
    ignore: tuple[str, ...] = field(default=(), compare=False)  # keys that may be left out; they change no row
    slice_by: tuple[str, ...] = field(
        default=(), compare=False
    )  # keys whose values are stored beside a row and are not part of it

    @property
    def numbered(self) -> bool:
        """True if columns are given by number: a CSV without a header."""
        return any(isinstance(name, int) for names in self.columns.values() for name in as_list(names))


NO_OPTIONS = Options()


def options_of(dataset: Mapping[str, Any]) -> Options:
    """The options of a dataset's entry in params.yaml."""
    options = {
        key: dataset[key]
        for key in ("columns", "format", "system", "ground_truth_pattern", "margin")
        if dataset.get(key)
    }
    if dataset.get("pairs") == "all":
        options["pairs"] = "all"  # the best against the worst is the default
    if dataset.get("reasoning") in ("drop", "last_turn"):
        options["reasoning"] = dataset["reasoning"]
    return Options(**options, ignore=tuple(dataset.get("ignore") or ()), slice_by=tuple(dataset.get("slice_by") or ()))


def extract_ground_truth(text: str, pattern: str) -> str:
    """The group of a pattern in a text. Raises Unreadable if there is none, Problems if the search takes too long."""
    try:
        match = _compile(pattern).search(text, timeout=PATTERN_TIMEOUT_S)
    except TimeoutError:
        hint = "nested repetitions such as (a+)+ take forever; write what comes before and after the group"
        what = f"the search for {pattern!r} in {text[:60]!r} takes more than {PATTERN_TIMEOUT_S} s"
        raise Problems([Problem("ground_truth_pattern", what, "a pattern that is found quickly", hint)]) from None
    if not match or match[1] is None:
        raise Unreadable("ingest.ground_truth_pattern", f"{pattern!r} is not in the ground truth")
    return match[1]


@cache
def _compile(pattern: str) -> Any:  # a pattern of `regex`, which has no types
    import regex

    return regex.compile(pattern)
