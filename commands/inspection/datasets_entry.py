"""The entry of `datasets:` in params.yaml for raw data, or what params.yaml already says of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from commands.inspection.conversion import Conversion
from commands.inspection.datasets import dataset_name, existing_datasets, path_inside, reads


def datasets_entry(raw: Path, kind: str, conversion: Conversion) -> str:
    """The line for `datasets:` of params.yaml, with the command that copies data from outside of the project into it."""
    import shlex

    from stages.rows.key_hints import quote_yaml

    inside, name, taken = path_inside(raw), dataset_name(raw), existing_datasets()
    existing = [
        line
        for each, dataset in taken.items()
        for line in existing_entry(each, dataset, inside, kind, conversion["pattern"])
    ]
    if existing:
        return "\n".join(existing)
    while name in taken:
        name += "_new"
    line = f"  {name}: {{kind: {kind}, raw: {quote_yaml(inside.as_posix())}{entry_options(conversion)}}}"
    line += "".join(f"\n  # {note}" for note in ignore_notes(conversion))
    first = "" if inside == raw else f"first: cp -r {shlex.quote(str(raw))} data/raw/\n\n"
    return f"{first}to paste under `datasets:` in params.yaml:\n\n{line}"


def entry_options(conversion: Conversion) -> str:
    """The rest of an entry: where the answers are in ground truths, and the keys that a build would stop at."""
    from stages.rows.key_hints import quote_yaml

    pattern, lost = conversion["pattern"], conversion["account"].lost
    more = f", columns: {yaml_columns(conversion['columns'])}" if conversion["columns"] else ""
    # in single quotes YAML takes a backslash as it is
    more += f", ground_truth_pattern: '{pattern}'" if pattern else ""
    return more + (f", ignore: [{', '.join(quote_yaml(key) for key in sorted(lost))}]" if lost else "")


def yaml_columns(columns: Mapping[str, Any]) -> str:
    """`columns:` of an entry, in braces."""
    from stages.rows.key_hints import quote_yaml

    def text(name: str | int | list[Any]) -> str:
        if isinstance(name, list):
            return f"[{', '.join(map(text, name))}]"
        return str(name) if isinstance(name, int) else quote_yaml(name)

    return f"{{{', '.join(f'{wanted}: {text(name)}' for wanted, name in columns.items())}}}"


def ignore_notes(conversion: Conversion) -> Iterator[str]:
    """What `ignore` leaves out, and how to keep it."""
    from stages.rows.key_hints import key_hint
    from stages.rows.tables import safe_text

    for key, lost in sorted(conversion["account"].lost.items()):
        what = f"{safe_text(key)} ({safe_text(repr(lost.sample), 200)})"
        yield f"these rows leave out {what}; to keep it, instead of ignore: {safe_text(key_hint(key, lost.meaning), 400)}"


def existing_entry(name: str, dataset: dict[str, Any], raw: Path, kind: str, pattern: str | None) -> Iterator[str]:
    """A line if a dataset of params.yaml reads the path already, with what its entry says otherwise; else none."""
    from stages.reading.files import fits_pattern

    folder = PurePosixPath(str(dataset.get("raw") or ""))
    if not reads(dataset, raw):
        return
    where = "" if raw == Path(folder) else f", which reads all of {folder}"
    left_out = where and any(fits_pattern(raw.as_posix(), each, str(folder)) for each in dataset.get("exclude") or ())
    where += ", but `exclude` leaves this out" if left_out else ""
    other = (
        [f"`kind: {dataset.get('kind')}` there, most of these records are {kind}"]
        if dataset.get("kind") != kind
        else []
    )
    if pattern and not dataset.get("ground_truth_pattern"):
        other.append(f"no ground_truth_pattern there: '{pattern}' finds the answers")
    yield f"params.yaml has it: datasets.{name}{where}" + (f"; what differs: {'; '.join(other)}" if other else "")
