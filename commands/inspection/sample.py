"""A sample of raw data: what each file is, its first records, and the kinds that they can become."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from stages.reading.readers import Record
    from stages.rows.options import Options
    from stages.rows.types import Fields
    from validators.problems import Problem

KINDS = ("sft", "preference", "kto", "grpo")
MAX_RECORDS = 20_000


class FileSummary(TypedDict):
    """What a file is, the shapes of its records in words, and what is wrong with it; "" where there is nothing to say."""

    path: str
    what: str
    shapes: str
    fault: str


class Sample(TypedDict):
    """The first records of each file, each with the path of its file.

    kinds: how many of the records can become each kind. whole: whether the sample has all records. options: how records are read.
    """

    files: list[FileSummary]
    records: "list[tuple[str, Record]]"
    shapes: Counter[str]
    kinds: Counter[str]
    whole: bool
    options: "Options"


def options_for(raw: Path, columns: str | None) -> "Options":
    """How records are read: with `columns` as they are given, else as the dataset of params.yaml that reads this path says.

    columns: the value of `columns:` as YAML, with or without its braces. Raises Problems.
    """
    from commands.inspection.datasets import existing_datasets, reads
    from stages.rows.options import NO_OPTIONS, Options

    if columns is not None:
        return Options(columns=parse_columns(columns))
    for dataset in existing_datasets().values():
        named = dataset.get("columns")
        if isinstance(named, dict) and reads(dataset, raw):
            return Options(columns=named)
    return NO_OPTIONS


def parse_columns(text: str) -> dict[str, Any]:
    """The value of `columns:` from the command line. Raises Problems, as `tilth check` does."""
    from dataclasses import replace

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from validators._formats import option_problems
    from validators.problems import Problem, Problems

    try:
        columns = YAML(typ="safe", pure=True).load(text if text.lstrip().startswith("{") else f"{{{text}}}")
    except YAMLError:
        columns = None
    if not isinstance(columns, dict) or not all(isinstance(name, (str, int, list)) for name in columns.values()):
        expected = "names as in params.yaml: --columns 'prompt: question, completion: [answer, note]'"
        raise Problems(
            [Problem("--columns", repr(text), expected, "numbers for a CSV without a line of names: prompt: 1")]
        )
    if problems := option_problems("-", {"columns": columns}):
        raise Problems([replace(problem, where=f"-{problem.where.replace('.', '', 1)}") for problem in problems])
    return columns


def resolve_path(path: str, start: Path | None = None) -> Path:
    """The path that the user means, relative to the project if it is inside. Raises Problems if it does not exist.

    start: where the user is.
    """
    from validators.problems import Problem, Problems

    absolute = (start or Path.cwd()) / path
    if not path or not absolute.exists():
        hint = "the path is relative to where you are"
        raise Problems([Problem(path or "PATH", "does not exist", "a raw file or a folder of them", hint)])
    root, absolute = Path.cwd().resolve(), absolute.resolve()
    return absolute.relative_to(root) if absolute.is_relative_to(root) and absolute != root else absolute


def read_sample(raw: Path, options: "Options | None" = None) -> Sample:
    """The first records of each file, and what each file is. Raises Problems if there is no readable file."""
    from stages.reading.files import listing
    from stages.rows.options import NO_OPTIONS
    from validators.problems import Problem, Problems

    try:
        files = listing(str(raw), str(raw))
    except Problems as error:
        raise Problems([Problem(p.where, p.found, p.expected, "put raw data there") for p in error.problems]) from None
    sample: Sample = {
        "files": [], "records": [], "shapes": Counter(), "kinds": Counter(), "whole": True, "options": options or NO_OPTIONS,
    }  # fmt: skip
    problems: list[Problem] = []
    limit = max(100, MAX_RECORDS // len(files.data))
    for file in files.data:
        sample_file(file, limit, sample, problems)
    if len(problems) == len(files.data):
        raise Problems(problems)
    for file, role in files.others.items():
        sample["files"].append({"path": file.as_posix(), "what": "not read", "shapes": "", "fault": role})
    return sample


def sample_file(file: Path, limit: int, sample: Sample, problems: "list[Problem]") -> None:
    """Add a file and its first `limit` records to the sample, and what makes it unreadable to `problems`."""
    from itertools import islice

    from stages.ingest import rows_of_record
    from stages.reading.containers import detect_container
    from stages.reading.readers import records
    from stages.rows.shapes import describe_shape, shape_of
    from stages.rows.values import Unreadable
    from validators.problems import Problems

    options = sample["options"]
    counts, labels, what, fault, count = Counter(), Counter(), "unreadable", "", 0
    try:
        what = f"{detect_container(file)}, {encoding(file)}, {file.stat().st_size:,} bytes"
        for count, record in enumerate(islice(records(file, numbered=options.numbered), limit + 1), 1):
            if count > limit:
                sample["whole"] = False
                break
            sample["records"].append((file.as_posix(), record))
            shape = "unreadable" if record.value is None else shape_of(named(record.value, options)) or "unknown"
            counts[shape] += 1
            # of two answers, which is the better one
            compared = record.value is not None and shape == "compared" and not options.format
            labels[describe_shape(record.value, options) if compared else shape] += 1
            for kind in KINDS if record.value is not None else ():
                try:
                    rows_of_record(record, kind, options)
                except Unreadable:
                    continue
                sample["kinds"][kind] += 1
    except Problems as error:
        problems += error.problems
        fault = str(error)
    sample["shapes"] += counts
    shapes = ", ".join(f"{number:,} {shape}" for shape, number in labels.most_common())
    shapes += f" (the first {limit:,} records)" if count > limit else ""
    sample["files"].append({"path": file.as_posix(), "what": what, "shapes": shapes, "fault": fault})


def named(record: "Fields", options: "Options") -> "Fields":
    """A record under the names that `columns` gives its keys."""
    from stages.rows.columns import rename_columns

    return next(iter(rename_columns(record, options.columns)), record)


def encoding(file: Path) -> str:
    """The encoding and line ends of a file, by its first bytes, in words."""
    head = file.read_bytes() if file.stat().st_size < 65536 else file.open("rb").read(65536)
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK", b"\xff\xff\xff\xff", b"ARROW1")):
        return "binary"
    ends = "CRLF line ends" if b"\r\n" in head else ""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # the last character of what was read may be cut
            return ", ".join(filter(None, [f"not UTF-8 (byte {error.start:,})", ends]))
    return ", ".join(filter(None, ["UTF-8 with BOM" if head.startswith(b"\xef\xbb\xbf") else "UTF-8", ends]))
