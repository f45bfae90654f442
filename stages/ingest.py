"""Read the raw files of one dataset into rows of its kind.

data/raw/<d> (a file or a folder) -> data/ingested/<d>/rows/*.parquet, data/ingested/<d>/rejects.parquet

A row, of kind sft: {messages: [{role: user, content: "Reverse abc."}, {role: assistant, content: cba}], tools: null,
id: 5f0e..., source: data/raw/chat/chatml.jsonl, line: 12, prompt_key: 9a1c..., claim_key: null}

Files are cut into parts that processes read in parallel, one Parquet file a part. Parts and rows keep their order.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypedDict, cast

import pyarrow as pa

from stages.core.params import read_engine, read_params
from stages.dedup.forgotten import leave_out_forgotten, read_forgotten
from stages.reading.containers import describe_container
from stages.reading.files import listing, pattern_problems
from stages.reading.json_values import non_finite_places, replace_non_finite
from stages.reading.links import outside_link_problems
from stages.reading.parts import Part, map_items, number_parts, split_file, with_progress_bar
from stages.reading.readers import Record, packed_lines, read_lines, record_of, records
from stages.reading.unaccepted_changes import unaccepted_problems
from stages.rows.identity import identify
from stages.rows.key_account import KeyAccount
from stages.rows.key_hints import MEANING_NAMES, key_hint, quote_yaml
from stages.rows.options import NO_OPTIONS, Options, options_of
from stages.rows.plain_conversations import (
    DECODE_WHOLE,
    SftColumns,
    count_without_answer,
    describe_prompts_only,
    plain_turns,
)
from stages.rows.rejects import UNUSED_KEYS, describe_canary, describe_key_counts, describe_records
from stages.rows.shapes import describe_shape, rows_of
from stages.rows.slices import COLUMN as SLICES
from stages.rows.slices import describe_slices, slice_values, slices_as_json, unknown_slice_keys, with_slices
from stages.rows.tables import (
    REJECTS,
    conserve,
    open_writer,
    row_schema,
    safe_text,
    stop_if_too_many_rejects,
    to_table,
    write_table,
)
from stages.rows.types import Fields, Reject, Row
from stages.rows.values import Unreadable
from validators.problems import Problem, Problems

BATCH_RECORDS = 20_000
Tables = tuple[pa.Table, pa.Table, Counter[str]]  # rows, rejects, records by shape


class Dataset(TypedDict):
    """What ingest reads of a dataset's entry, beside the options that `stages/rows/options.py` reads."""

    kind: str
    raw: str
    exclude: list[str]
    slice_by: list[str]
    max_reject_share: float


def main(name: str) -> None:
    dataset = read_params("ingest", name)["datasets"][name]
    if problems := outside_link_problems(dataset["raw"]) + unaccepted_problems(dataset["raw"]):
        raise Problems(problems)
    files = listing(dataset["raw"], f"datasets.{name}.raw", dataset["exclude"])
    everything = [*files.data, *files.others]
    if problems := pattern_problems(f"datasets.{name}.exclude", dataset["exclude"], everything, dataset["raw"]):
        raise Problems(problems)
    for path, role in files.others.items():
        print(f"  {safe_text(path.as_posix(), 400)}: not read: {role}")
    parts = [part for path in files.data for part in split_file(path)]
    folder = Path("data/ingested", name)
    building = folder.with_name(f"{name}.partial")
    for stale in (building, folder):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        read_all(name, dataset, parts, building, read_engine())
        os.replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def read_all(name: str, dataset: Dataset, parts: list[Part], folder: Path, engine: str) -> None:
    """Read all parts of a dataset into `folder`, and print what they contain. Raises Problems if too many records are rejected."""
    work = ((part, folder / f"rows/{number:05}.parquet") for number, part in enumerate(number_parts(parts)))
    forgotten = frozenset(entry.id for entry in read_forgotten())
    results = map_items(
        partial(ingest_part, kind=dataset["kind"], options=options_of(dataset), forgotten=forgotten),
        work,
        sum(part.end - part.start for part in parts),
        engine,
        len(parts),
    )
    rejects: list[pa.Table] = []
    counts: Counter[str] = Counter()
    shapes: dict[tuple[str, str], Counter[str]] = {}
    accounts: dict[str, KeyAccount] = {}
    keys = tuple(dataset["slice_by"])
    bar = with_progress_bar(results, len(parts), f"ingest {name}")
    for part, (part_counts, rejected, part_shapes, account) in zip(parts, bar, strict=True):
        rejects.append(rejected)
        counts.update(part_counts)
        shapes.setdefault((part.path.as_posix(), part.container), Counter()).update(part_shapes)
        accounts.setdefault(part.path.as_posix(), KeyAccount()).add(account)
    known, have = {key for account in accounts.values() for key in account.unused}, Counter()
    for account in accounts.values():
        have.update(account.sliced)
        for key in keys:
            account.unused.pop(key, None)  # it is used: scores are sliced by it
    for (source, container), of_file in shapes.items():
        records_by_shape = [f"{count:,} {shape}" for shape, count in of_file.most_common()]
        print(f"  {safe_text(source, 400)}: {', '.join([describe_container(container), *records_by_shape])}")
        if unused := accounts[source].unused:
            print(f"    keys not used: {describe_key_counts(unused)}")
            if canary := describe_canary(unused):
                print(f"    warning: {canary}")
    if counts["prompts"]:
        print(f"  {describe_prompts_only(counts['prompts'])}")
    for line in describe_slices(keys, have):
        print(f"  {line}")
    conserve("ingest", name, counts["records"], counts["rejects"], rows=counts["rows"])
    table = pa.concat_tables(rejects)
    stop_if_too_many_rejects(name, table, counts["records"], dataset["max_reject_share"])
    if problems := lost_key_problems(name, accounts) + unknown_slice_keys(name, keys, have, known):
        raise Problems(problems)
    unused = {source: dict(account.unused) for source, account in accounts.items() if account.unused}
    metadata = {UNUSED_KEYS: json.dumps(unused, sort_keys=True)} if unused else None
    write_table(folder / "rejects.parquet", table.replace_schema_metadata(metadata), "none")


def lost_key_problems(name: str, accounts: dict[str, KeyAccount]) -> list[Problem]:
    """A Problem for each key of a file whose content is in no row."""
    return [
        Problem(
            f"datasets.{name}: {source}",
            f"{describe_records(lost.records)} {key!r} ({safe_text(lost.sample, 60)!r}), which no row holds",
            f"that all that belongs to {MEANING_NAMES[lost.meaning]} is used",
            f"{key_hint(key, lost.meaning)}; if it may be left out, ignore: [{quote_yaml(key)}]",
        )
        for source, account in accounts.items()
        for key, lost in sorted(account.lost.items())
    ]


def ingest_part(
    work: tuple[Part, Path], kind: str, options: Options = NO_OPTIONS, forgotten: frozenset[str] = frozenset()
) -> tuple[Counter[str], pa.Table, Counter[str], KeyAccount]:
    """Write the rows of one part; (counts, rejects, records by shape, its KeyAccount). forgotten: ids of records to leave out."""
    part, target = work
    counts: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    rejects, account = [], KeyAccount()
    schema = with_slices(row_schema(kind, keys=True), options.slice_by)
    with open_writer(target, schema, "none") as out:
        for table, rejected, batch_shapes in tables_of(part, kind, options, account):
            if forgotten:
                table, rejected = leave_out_forgotten(table, rejected, forgotten)
            out.write_table(table)
            rejects.append(rejected)
            shapes.update(batch_shapes)
            counts["prompts"] += count_without_answer(table) if kind == "sft" else 0
            # the rows of one record are neighbours
            lines = table["line"].to_numpy()
            rows = int((lines[1:] != lines[:-1]).sum()) + bool(len(lines))
            counts.update(records=sum(batch_shapes.values()), rows=rows, rejects=len(rejected))
    return counts, pa.concat_tables([REJECTS.empty_table(), *rejects]), shapes, account


def tables_of(
    part: Part, kind: str, options: Options = NO_OPTIONS, account: KeyAccount | None = None
) -> Iterator[Tables]:
    """(rows, rejects, records by shape) of a part, batch by batch. account: the KeyAccount that counts its keys."""
    account = KeyAccount() if account is None else account
    source = part.path.as_posix()
    rest: list[Record] = []
    if part.container.startswith("jsonl"):
        lines = read_lines(part) if part.container == "jsonl" else packed_lines(part.path, rest)
        while batch := list(islice(lines, BATCH_RECORDS)):
            yield (
                plain_table(batch, source, options, account)
                if kind == "sft" and options == NO_OPTIONS
                else general_table([record_of(*line) for line in batch], kind, source, options, account)
            )
        if rest:
            yield general_table(rest, kind, source, options, account)
    else:
        reader = records(part.path, part.container, options.numbered)
        while batch := list(islice(reader, BATCH_RECORDS)):
            yield general_table(batch, kind, source, options, account)


def general_table(
    batch: list[Record], kind: str, source: str, options: Options = NO_OPTIONS, account: KeyAccount | None = None
) -> Tables:
    rows, rejects = convert_records(batch, kind, source, options, account)
    shapes = Counter(shape_label(record, options) for record in batch)
    schema = with_slices(row_schema(kind, keys=True), options.slice_by)
    return to_table(rows, schema), to_table(rejects, REJECTS), shapes


def shape_label(record: Record, options: Options = NO_OPTIONS) -> str:
    """A record's shape and how it was recognised, for the printed line of its file."""
    return "unreadable" if record.value is None else describe_shape(record.value, options)


def plain_table(
    lines: list[tuple[int, bytes]], source: str, options: Options = NO_OPTIONS, account: KeyAccount | None = None
) -> Tables:
    """Rows and rejects of JSON lines of kind sft: plain conversations fast, the others as `general_table` does."""
    columns, rejects = SftColumns(), []
    slices: list[str | None] = []
    shapes: Counter[str] = Counter()
    account = KeyAccount() if account is None else account
    for number, raw in lines:
        if plain := plain_turns(raw):
            turns, shape, unused = plain
            columns.append(turns, number)
            shapes[shape] += 1
            if unused:
                for key in unused:
                    account.count(key)
            if options.slice_by:
                slices.append(slice_column(DECODE_WHOLE(raw), options, account)[SLICES])
            continue
        record = record_of(number, raw)
        shapes[shape_label(record)] += 1
        rows, rejected = convert_records([record], "sft", source, options, account)
        for row in rows:
            columns.append_row(row)
            slices += [row[SLICES]] if options.slice_by else []
        rejects += rejected
    table = columns.table(source)
    if options.slice_by:
        table = table.append_column(SLICES, pa.array(slices, pa.string()))
    return table, to_table(rejects, REJECTS), shapes


def convert_records(
    batch: Iterable[Record], kind: str, source: str, options: Options = NO_OPTIONS, account: KeyAccount | None = None
) -> tuple[list[Row], list[Reject]]:
    """(rows, rejects) of a batch of records: each record is in one of them, and in one only."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    for record in batch:
        check, detail = record.fault or ("", "")
        if not check:
            try:
                new = rows_of_record(record, kind, options, account)
                beside = {"source": source, "line": record.line} | slice_column(
                    cast(Fields, record.value), options, account
                )
                rows += [row | identify(row, kind) | beside for row in new]
                continue
            except Unreadable as error:
                check, detail = error.check, error.detail
        rejects.append(
            {
                "id": None,
                "source": source,
                "line": record.line,
                "stage": "ingest",
                "check": check,
                "detail": detail,
                "raw": record.raw,
            }
        )
    return rows, rejects


def slice_column(value: Fields, options: Options, account: KeyAccount | None = None) -> Row:
    """The slices of a record's rows as a column, and counts their keys; {} where the dataset has no `slice_by`."""
    if not options.slice_by:
        return {}
    values = slice_values(value, options.slice_by)
    if account is not None:
        account.slice(values)
    return {SLICES: slices_as_json(values)}


def rows_of_record(record: Record, kind: str, options: Options, account: KeyAccount | None = None) -> list[Row]:
    """The rows of a record. Raises Unreadable, which names NaN and Infinity: JSON has none, and a row would say null."""
    value = cast(Fields, record.value)  # a record without a fault has one
    if record.beside and account is not None:
        account.add_beside(record.beside, options.ignore)
    odd = non_finite_places(value) if "NaN" in record.raw or "Infinity" in record.raw else []
    if not odd:
        return rows_of(value, kind, options, account)
    try:
        rows = rows_of(value, kind, options, account)
        # two other numbers in their place show whether a row contains them; in keys that no row contains they may stand
        if rows_without_extra(replace_non_finite(value, 0.5), kind, options) != rows_without_extra(
            replace_non_finite(value, 1.5), kind, options
        ):
            raise Unreadable("ingest.wrong_type", "expected a value")
    except Unreadable as error:
        raise Unreadable(error.check, f"{error.detail}; {', '.join(odd)}") from None
    return rows


def rows_without_extra(value: Fields, kind: str, options: Options) -> list[Row]:
    """The rows of a record's value without `extra`, which has the keys that are used for nothing else."""
    return [{key: held for key, held in row.items() if key != "extra"} for row in rows_of(value, kind, options)]
