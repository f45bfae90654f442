"""What a dataset's entry in params.yaml says about reading its records: names of columns, a system turn, a pattern."""

from dataclasses import dataclass, field
from functools import cache

from stages.rows.values import Unreadable
from validators.problems import Problem, Problems

PATTERN_TIMEOUT_S = 5


@dataclass(frozen=True)
class Options:
    """Data only, so that it reaches other processes. columns: wanted name -> name in the file, or its number."""

    columns: dict = field(default_factory=dict)
    format: str | None = None
    system: str | None = None
    ground_truth_pattern: str | None = None
    reasoning: str | None = None  # `drop` or `last_turn`: which thoughts are left out; `mask` is for training alone

    @property
    def numbered(self):
        """True where columns are given by number: a CSV without a line of names."""
        return any(isinstance(name, int) for name in self.columns.values())


NONE = Options()


def options_of(dataset):
    """The options of a dataset's entry in params.yaml."""
    given = {key: dataset[key] for key in ("columns", "format", "system", "ground_truth_pattern") if dataset.get(key)}
    if dataset.get("reasoning") in ("drop", "last_turn"):
        given["reasoning"] = dataset["reasoning"]
    return Options(**given)


def renamed(record, columns):
    """A record with its columns under the wanted names; what is not there stays away."""
    if not columns:
        return record
    wanted = {to: record[str(name)] for to, name in columns.items() if str(name) in record}
    taken = {str(name) for name in columns.values()} | wanted.keys()
    return wanted | {key: value for key, value in record.items() if key not in taken}


def missing(record, columns):
    """The names of columns that a record should have and has not, in words."""
    names = [str(name) for name in columns.values() if str(name) not in record]
    return f"; columns: not in this record: {', '.join(names)}" if names else ""


def extracted(text, pattern):
    """The group of a pattern in a text. Raises Unreadable where there is none, Problems where the search does not end."""
    try:
        found = _compiled(pattern).search(text, timeout=PATTERN_TIMEOUT_S)
    except TimeoutError:
        hint = "nested repetitions such as (a+)+ take for ever; say what stands before and behind the group"
        what = f"{pattern!r} does not end on {text[:60]!r} within {PATTERN_TIMEOUT_S} s"
        raise Problems([Problem("ground_truth_pattern", what, "a pattern that ends", hint)]) from None
    if not found or found[1] is None:
        raise Unreadable("ingest.ground_truth_pattern", f"{pattern!r} is not in the ground truth")
    return found[1]


@cache
def _compiled(pattern):
    import regex

    return regex.compile(pattern)
