"""The result of `tilth diff` as lines of text or of Markdown."""

import re
from collections.abc import ItemsView, Iterator
from typing import Any, NotRequired, TypedDict

from commands.builds.changes import Change, align_columns, describe_change
from stages.report import escape_cell, markdown_table
from stages.rows.tables import safe_text

NOTHING = "nothing differs: same parameters, same rows, same models, same scores"
MOVED_NOTE = "moved between train and eval, though no param of the split differs: a prompt that `eval:` pins, or tilth verify says more"
WIDTH = 400  # characters of a row's text


class Revision(TypedDict):
    """rev: as the user wrote it. commit: its hash. Both are None for the working tree."""

    rev: str | None
    commit: str | None


class FileSize(TypedDict):
    md5: str | None
    size: int | None


class FileDiff(TypedDict):
    """A file that a stage reads. lines: added and removed by git. Without `old` it is new, without `new` it was removed."""

    path: str
    lines: int | None
    old: NotRequired[FileSize]
    new: NotRequired[FileSize]


class DatasetDiff(TypedDict):
    """sizes: {room: [rows before, rows after]}. sizes, rows: None where bytes are missing. records: only with --rows."""

    dataset: str
    change: str
    sizes: dict[str, list[int | None]] | None
    rows: list[dict[str, Any]] | None
    records: NotRequired[list[dict[str, Any]]]


class ModelDiff(TypedDict):
    model: str
    change: str


class Score(TypedDict):
    value: float | None
    n: int
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    stderr: NotRequired[float | None]


class ScoreDiff(TypedDict):
    """change: of the value; None unless both builds have one."""

    model: str
    dataset: str
    metric: str
    old: Score | None
    new: Score | None
    change: float | None


# the result of `tilth diff`. not_built: parameters that changed since the build
Diff = TypedDict(
    "Diff",
    {
        "from": Revision,
        "to": Revision,
        "params": list[Change],
        "not_built": list[Change],
        "files": list[FileDiff],
        "datasets": list[DatasetDiff],
        "models": list[ModelDiff],
        "scores": list[ScoreDiff],
    },
)


def text(found: Diff) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"{revision_name(found['from'])} -> {revision_name(found['to'])}"
    if not any(found[key] for key in ("params", "files", "datasets", "models", "scores")):
        yield NOTHING
    for title, lines in (
        ("parameters", list(map(describe_change, found["params"]))),
        ("raw data and code", list(align_columns(list(file_rows(found)), indent=0))),
        ("models", [f"{item['model']}: {item['change']}" for item in found["models"]]),
    ):
        if lines:
            yield from ("", title, *(f"  {line}" for line in lines))
    for dataset in found["datasets"]:
        yield from ("", heading(dataset))
        if dataset["rows"]:
            yield from align_columns([["rows", "change", "from", "to"], *change_rows(dataset)], right={0})
        yield from record_lines(dataset)
    if found["scores"]:
        yield from ("", "scores, with their 95% intervals")
    for title, lines in score_tables(found):
        yield from (f"  {title}", *align_columns(lines, indent=4, right={3}))
    for note in notes(found):
        yield from ("", note)


def markdown(found: Diff) -> Iterator[str]:
    """Lines of Markdown, for a pull request."""
    yield f"### Build: {code(revision_name(found['from']))} → {code(revision_name(found['to']))}"
    if not any(found[key] for key in ("params", "files", "datasets", "models", "scores")):
        yield from ("", NOTHING)
    for title, lines in (
        ("Parameters", list(map(describe_change, found["params"]))),
        ("Raw data and code", [" ".join(filter(None, file)) for file in file_rows(found)]),
        ("Models", [f"{item['model']}: {item['change']}" for item in found["models"]]),
    ):
        if lines:
            yield from ("", f"**{title}**", "", *(f"- {code(line)}" for line in lines))
    for dataset in found["datasets"]:
        yield from ("", f"**{heading(dataset)}**")
        if dataset["rows"]:
            yield from ("", markdown_table(["rows", "change", "from", "to"], change_rows(dataset)))
        if lines := list(record_lines(dataset)):
            # every line begins with a space or a sign: no text of a row can end the block
            yield from ("", "<details><summary>rows</summary>", "", "```text", *lines, "```", "", "</details>")
    for title, lines in score_tables(found):
        yield from ("", f"**{title}**", "", markdown_table(["metric", "old", "new", "change"], lines))
    for note in notes(found):
        yield from ("", f"> {escape_cell(note)}")


def code(line: str) -> str:
    """A text as Markdown's code, whatever it holds."""
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def revision_name(rev: Revision) -> str:
    given, commit = rev["rev"], rev["commit"]
    if given is None or commit is None:
        return "working tree"
    return commit[:10] if commit.startswith(given) else f"{safe_text(given)} ({commit[:10]})"


def file_rows(found: Diff) -> Iterator[list[str]]:
    """Yields [path, its change] of each file."""
    for file in found["files"]:
        sizes = [file[key]["size"] for key in ("old", "new") if key in file]
        if len(sizes) < 2:
            what = "new" if "new" in file else "gone"
        elif None in sizes or sizes[0] == sizes[1]:
            what = "changed"
        else:
            what = f"{sizes[0]:,} -> {sizes[1]:,} bytes"
        lines = f", {file['lines']:,} line{'s' * (file['lines'] != 1)} in git" if file["lines"] else ""
        yield [safe_text(file["path"]), what + lines]


def heading(dataset: DatasetDiff) -> str:
    """The dataset, and how many rows its files have: before -> after where a file differs."""
    if dataset["sizes"] is None:
        return f"{dataset['dataset']}: {dataset['change']}, but its rows cannot be read"
    sizes = (
        f"{room} {' -> '.join(f'{count:,}' for count in dict.fromkeys(counts) if count is not None)}"
        for room, counts in dataset["sizes"].items()
    )
    return (
        f"{dataset['dataset']}{'' if dataset['change'] == 'changed' else ' ' + dataset['change']}: {', '.join(sizes)}"
    )


def change_rows(dataset: DatasetDiff) -> list[list[str]]:
    return [
        [f"{item['rows']:,}", item["change"], safe_text(item["from"] or "-"), safe_text(item["to"] or "-")]
        for item in dataset["rows"] or ()
    ]


def record_lines(dataset: DatasetDiff) -> Iterator[str]:
    """Yields the rows themselves, with their old and new texts."""
    records = dataset.get("records", [])
    for record in records:
        here, before = record["new"] or record["old"], record["old"]
        was = f" (was line {before['line']})" if before and record["new"] and before["line"] != here["line"] else ""
        path = " -> ".join(safe_text(place) for place in (record["from"], record["to"]) if place)
        yield f"  {safe_text(here['source'])}:{here['line']}{was} {record['change']}: {path}"
        if record["change"] == "moved":
            yield f"      {safe_text(before['text'], WIDTH)}"
            continue
        for sign, side in (("-", before), ("+", record["new"])):
            if side:
                yield f"    {sign} {safe_text(side['text'], WIDTH)}"
    total = sum(item["rows"] for item in dataset["rows"] or [])
    if records and len(records) < total:
        yield f"  {total - len(records):,} more: --limit 0 shows all {total:,}"


def score_tables(found: Diff) -> ItemsView[str, list[list[str]]]:
    """(`model on dataset`, [metric, old, new, change]) of the scores that differ."""
    groups: dict[str, list[list[str]]] = {}
    for item in found["scores"]:
        change = "" if item["change"] is None else f"{item['change']:+.3f}"
        both = [summary(item["old"]), summary(item["new"])]
        groups.setdefault(score_heading(item), []).append([safe_text(item["metric"]), *both, change])
    return groups.items()


def score_heading(item: ScoreDiff) -> str:
    counts = dict.fromkeys(score["n"] for score in (item["old"], item["new"]) if score)
    return f"{item['model']} on {item['dataset']} ({' -> '.join(f'{count:,}' for count in counts)} eval rows)"


def summary(item: Score | None) -> str:
    from stages.scoring.statistics import describe_interval

    if not item:
        return "-"
    return (
        "none" if item["value"] is None else " ".join(filter(None, (f"{item['value']:.3f}", describe_interval(item))))
    )


def notes(found: Diff) -> Iterator[str]:
    """Yields what a reader must know to understand the rest."""
    if found["not_built"]:
        keys = ", ".join(safe_text(change["key"]) for change in found["not_built"][:5])
        more = ", ..." if len(found["not_built"]) > 5 else ""
        yield f"not built yet, so that rows and scores are those from before: {keys}{more} (tilth plan)"
    keys = {change["key"] for change in found["params"]}
    split = {"seed", "eval_fraction"} & keys or any(key.endswith((".eval", ".split_on")) for key in keys)
    crossed = sum(
        item["rows"]
        for dataset in found["datasets"]
        for item in dataset["rows"] or []
        if item["change"] == "moved" and {item["from"], item["to"]} == {"train", "eval"}
    )
    if crossed and not split:
        yield f"{crossed:,} rows {MOVED_NOTE}"
