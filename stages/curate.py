"""Put every row of one dataset into train, eval or quarantine: no duplicates, no contradictions, no leaks.

data/ingested/<d>/, data/validated/<d>.parquet
    -> data/train/<d>.parquet, data/eval/<d>.parquet, data/rejected/<d>.parquet, data/kept/<d>/train.json

data/rejected/<d>.parquet has the rejects of all three stages, so that one file says why any raw record is in neither
train nor eval. The side of the split is a pure function of the seed and the row's first user turn:
a prompt stays on its side in every dataset, when rows are added and when they are reordered (`stages/dedup/split.py`).
data/kept/<d>/ is the folder where `keep` lists the train rows to train on, if params.yaml has `difficulty`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.params import read_engine, read_params
from stages.dedup import sides
from stages.dedup.decision import EVAL, OUT, SPILL_FOLDER, TRAIN, Decision, PartRows
from stages.dedup.ends import Ends
from stages.dedup.forgotten import CURATE_CHECK, Forgotten, read_forgotten
from stages.dedup.sides import SplitEntry
from stages.dedup.split import PinEntry, is_pinned, read_pinned, split_key_sql
from stages.reading.files import fits_pattern
from stages.reading.links import outside_link_problems
from stages.reading.parts import map_items, with_progress_bar
from stages.rows import personal_data
from stages.rows.reject_merge import merge_rejects
from stages.rows.rejects import UNUSED_KEYS, unused_key_counts
from stages.rows.slices import COLUMN as SLICES
from stages.rows.slices import with_slices
from stages.rows.tables import (
    COLUMNS,
    REJECTS,
    conserve,
    open_writer,
    row_content,
    row_schema,
    to_table,
    used_message_keys,
    with_message_keys,
)
from stages.rows.values import ENCODE
from validators._by_file import value_for_file
from validators.problems import Problem, Problems

BENCHMARKS, EXPIRED = Path("data/benchmarks"), Path(".build/expired")
WARNED_LIKENESS, WARNED_SHARE = 0.8, 0.01  # of word triples; of the eval rows
MOST_COMPARED = 100_000  # rows: a few seconds
BOILERPLATE_SAMPLE, MOST_COPIES = 1_000, 20  # rows; more copies of a text are boilerplate
TurnedAwayRow = tuple[int, str]  # (row to reject, detail)
SimilarPair = tuple[int, int, float]  # (row, row, similarity)


class Dataset(PinEntry, SplitEntry):
    """What curate reads of a dataset's entry. weights: {pattern of files: share of their rows that is kept}."""

    weights: dict[str, float]
    max_rows: int | None


class PersonalDataRules(TypedDict):
    """Kinds of personal data; regions: countries whose telephone numbers need no +."""

    reject: list[str]
    warn: list[str]
    regions: list[str]


class Rules(TypedDict):
    """What curate rejects in every dataset. near_duplicates, overlap_share: shares, 0 to 1."""

    near_duplicates: float | None
    ngram_words: int
    overlap_share: float
    personal_data: PersonalDataRules | None


def main(name: str) -> None:
    params, engine = read_params("curate", name), read_engine()
    dataset: Dataset = params["datasets"][name]
    rules: Rules = params["curate"]
    kind, folder = dataset["kind"], Path("data/ingested", name)
    parts = sorted((folder / "rows").glob("*.parquet"))
    invalid = Path("data/validated", f"{name}.parquet")
    before = [folder / "rejects.parquet", invalid]
    split_key = split_key_sql(kind, dataset["split_on"])
    decision = Decision(parts, invalid, params["seed"], params["eval_fraction"], split_key, read_pinned())
    if entries := read_forgotten():
        # first, so that the detail of no other reject names a forgotten row
        decision.reject(CURATE_CHECK, forgotten_rows(decision, kind, entries, rules, engine))
    if "expires" in params:
        decision.reject("curate.expired", expired_rows(decision, name, dataset["raw"]))
    found_data: dict[str, dict[str, int]] = {}
    if personal := rules["personal_data"]:
        # before rows are compared: a rejected row must not displace another
        found_data = reject_personal_data(decision, kind, personal, engine)
    decision.reject("curate.duplicate", decision.run_query("duplicates"))
    decision.reject("curate.contradiction", decision.run_query("contradictions"))
    decision.reject("curate.mixed_out", surplus_rows(decision, dataset))
    if BENCHMARKS.is_dir() and any(path.name[0] != "." for path in BENCHMARKS.iterdir()):
        decision.reject("curate.benchmark", benchmark_overlaps(decision, kind, rules, engine))
    if rules["near_duplicates"] is not None:
        for check, rows in near_duplicates(decision, kind, rules["near_duplicates"], engine).items():
            decision.reject(check, rows)
    else:
        print_near_leaks(name, decision, kind, engine)
    side, reasons = decision.side, decision.reasons
    train, held_out = int((side == TRAIN).sum()), int((side == EVAL).sum())
    conserve("curate", name, len(side) - pq.read_metadata(invalid).num_rows, len(reasons), train=train, eval=held_out)
    print_held_out(decision, dataset)
    sides.check_sides(decision, name, dataset, params["eval_fraction"])
    decision.database.close()  # its memory is needed for the rows
    ends = write_all(name, kind, parts, decision, before, personal, found_data)
    if problem := ends.problem(
        f"datasets.{name}", Path(f"data/train/{name}.parquet"), Path(f"data/eval/{name}.parquet")
    ):
        print(f"warning: {problem}")
    write_row_count(name, train)


def write_row_count(name: str, rows: int) -> None:
    """Make data/kept/<d>/ with the number of train rows. Each training on the dataset depends on it; `keep` adds its list."""
    path = Path("data/kept", name, "train.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link into the cache of DVC
    path.write_text(json.dumps({"rows": rows}) + "\n", encoding="utf-8")


def print_held_out(decision: Decision, dataset: Dataset) -> None:
    """Print how many rows `eval:` of this dataset and of others holds out: those of its files, and others with the same prompts."""
    counts = decision.database.execute("SELECT source, count(*) FROM keys WHERE is_pinned GROUP BY source").fetchall()
    own = sum(count for source, count in counts if is_pinned(source, dataset))
    if counts:
        others = sum(count for _, count in counts) - own
        print(f"  held out by `eval:`: {own:,} rows of its own files, {others:,} of other files with the same prompts")


def write_all(
    name: str,
    kind: str,
    parts: Sequence[Path],
    decision: Decision,
    before: list[Path],
    personal: PersonalDataRules | None,
    found_data: dict[str, dict[str, int]],
) -> Ends:
    """Write train, eval and the rejects of all stages. before: the files of rejects of ingest and of validate.

    personal: the rules of `personal_data`, or None. found_data: {"reject": {kind: rows}, "warn": {kind: rows}}.
    """
    ends, turned_away, keys = Ends(kind), SPILL_FOLDER / f"{name}.parquet", used_message_keys(parts)
    schema = row_schema(kind, optional=keys)
    sliced = with_slices(schema, (SLICES,) if SLICES in pq.read_schema(parts[0]).names else ()) if parts else schema
    with (
        open_writer(f"data/train/{name}.parquet", schema) as train_out,
        open_writer(f"data/eval/{name}.parquet", sliced) as eval_out,
        open_writer(turned_away, REJECTS, "none") as turned_out,
        # the next part is read and split while this one is compressed
        ThreadPoolExecutor(1) as ahead,
    ):
        split = partial(split_part, decision=decision, kind=kind, names=sliced.names)
        following = ahead.submit(split, 0)
        for number in range(1, len(parts) + 1):
            train, held_out, rejected = following.result()
            if number < len(parts):
                following = ahead.submit(split, number)
            train_out.write_table(with_message_keys(train.select(schema.names), keys))
            eval_out.write_table(with_message_keys(held_out, keys))
            turned_out.write_table(rejected)
            ends.add(train, held_out)
    withhold = None
    if personal and personal["reject"]:
        withhold = partial(personal_data.withhold_texts, kinds=personal["reject"], regions=personal["regions"])
    metadata = {"personal_data": json.dumps(found_data)} if personal else {}
    if unused := unused_key_counts(before[0]):
        metadata |= {UNUSED_KEYS: json.dumps(unused, sort_keys=True)}
    merge_rejects([*before, turned_away], f"data/rejected/{name}.parquet", withhold, metadata or None)
    turned_away.unlink()
    return ends


def split_part(number: int, decision: Decision, kind: str, names: list[str]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(train, eval, rejects) of one part."""
    table, first = pq.read_table(decision.parts[number], columns=names), int(decision.first_rows[number])
    here = decision.side[first : first + len(table)]
    return (
        table.filter(pa.array(here == TRAIN)),
        table.filter(pa.array(here == EVAL)),
        rejects_of_part(table, first, decision.reasons, kind),
    )


# -- what must not come back ----------------------------------------------------------------------------------------


def forgotten_rows(
    decision: Decision, kind: str, entries: list[Forgotten], rules: Rules, engine: str
) -> list[TurnedAwayRow]:
    """Rows that are on the list of forgotten records, or have nearly the same text as one of them."""
    options = partial(forgotten_in_part, kind=kind, entries=entries, least=rules["near_duplicates"])
    work = decision.remaining_rows()
    found = with_progress_bar(map_items(options, work, decision.size_bytes(), engine), len(work), "forgotten")
    return [
        (int(first) + row, detail)
        for first, rows in zip(decision.first_rows, found, strict=True)
        for row, detail in rows
    ]


def forgotten_in_part(work: PartRows, kind: str, entries: list[Forgotten], least: float | None) -> list[TurnedAwayRow]:
    from stages.dedup.sketches import MIN_SIMILARITY, ForgottenIndex, find_forgotten

    part, rows = work
    table = pq.read_table(part, columns=[*COLUMNS[kind], "id"])
    matches = find_forgotten(table, kind, ForgottenIndex(entries), least or MIN_SIMILARITY)
    return [(row, f"forgotten as {matches[row][0].id} ({matches[row][1]})") for row in rows.tolist() if row in matches]


# -- what may no longer be used -------------------------------------------------------------------------------------


def expired_rows(decision: Decision, name: str, raw: str) -> list[TurnedAwayRow]:
    """Rows of the raw files whose day in `expires` has come, as the stage `expire` wrote."""
    days = json.loads((EXPIRED / f"{name}.json").read_text(encoding="utf-8"))
    matched = {source: day for source in remaining_sources(decision) if (day := value_for_file(days, source, raw))}
    table = pa.table({"source": pa.array(matched, pa.string()), "day": pa.array(matched.values(), pa.string())})
    decision.database.register("expired", table)
    query = "SELECT row, 'expired on ' || day FROM keys JOIN expired USING (source) ORDER BY row"
    return decision.database.execute(query).fetchall()


def remaining_sources(decision: Decision) -> list[str]:
    """The raw files of the rows that are not rejected yet."""
    return [source for (source,) in decision.database.execute("SELECT DISTINCT source FROM keys").fetchall()]


# -- persons ------------------------------------------------------------------------------------------------------


def reject_personal_data(
    decision: Decision, kind: str, rules: PersonalDataRules, engine: str
) -> dict[str, dict[str, int]]:
    """Reject the rows with personal data of the kinds to reject. Returns {"reject": {kind: rows}, "warn": {kind: rows}}."""
    kinds = (*rules["reject"], *rules["warn"])
    options = partial(personal_data_in_part, kind=kind, kinds=kinds, regions=rules["regions"])
    work, gone = decision.remaining_rows(), []
    counts: dict[str, Counter[str]] = {"reject": Counter(), "warn": Counter()}
    kinds_by_action = {"reject": set(rules["reject"]), "warn": set(rules["warn"])}
    found = with_progress_bar(map_items(options, work, decision.size_bytes(), engine), len(work), "personal data")
    for first, rows in zip(decision.first_rows, found, strict=True):
        for row, spans in rows.items():
            here = {action: {span[0] for span in spans} & kinds_by_action[action] for action in counts}
            for action in counts:
                counts[action].update(here[action])
            if here["reject"]:
                places = [span for span in spans if span[0] in here["reject"]]
                gone.append((int(first) + row, personal_data.describe_places(places)))
    decision.reject(personal_data.CHECK, gone)
    listed = {action: dict(sorted(by_kind.items())) for action, by_kind in counts.items()}
    for action, by_kind in listed.items():
        if by_kind:
            text = ", ".join(f"{name} in {count:,} rows" for name, count in by_kind.items())
            print(f"  {'warning' if action == 'warn' else 'rejected'}: {personal_data.CHECK}: {text}", flush=True)
    return listed


def personal_data_in_part(
    work: PartRows, kind: str, kinds: Sequence[str], regions: list[str]
) -> dict[int, list[personal_data.Place]]:
    part, rows = work
    table = pq.read_table(part, columns=list(COLUMNS[kind]))
    return personal_data.find_in_table(table, kind, kinds, regions, rows.tolist())


# -- what the rules of params.yaml reject ---------------------------------------------------------------------------


def surplus_rows(decision: Decision, dataset: Dataset) -> list[TurnedAwayRow]:
    """Rows beyond the weight of their file or beyond max_rows."""
    weights, limit = dataset["weights"], dataset["max_rows"]
    if not weights and limit is None:
        return []
    matched = {
        source: weight
        for pattern, weight in weights.items()
        for source in remaining_sources(decision)
        if fits_pattern(source, pattern, dataset["raw"])
    }
    table = pa.table({"source": pa.array(matched, pa.string()), "weight": pa.array(matched.values(), pa.float64())})
    decision.database.register("weights", table)
    return decision.run_query("mixed_out", max_rows=2**62 if limit is None else limit)


def benchmark_overlaps(decision: Decision, kind: str, rules: Rules, engine: str) -> list[TurnedAwayRow]:
    """Rows that contain a record of a benchmark. Raises Problems where a link leads to a benchmark outside the project."""
    if problems := outside_link_problems(BENCHMARKS):
        raise Problems(problems)
    options = partial(overlaps_in_part, kind=kind, ngram_words=rules["ngram_words"], share=rules["overlap_share"])
    work = decision.remaining_rows()
    found = with_progress_bar(map_items(options, work, decision.size_bytes(), engine), len(work), "benchmarks")
    return [
        (int(first) + row, f"holds {place} ({share:.0%} of its {rules['ngram_words']}-grams)")
        for first, rows in zip(decision.first_rows, found, strict=True)
        for row, place, share in rows
    ]


def overlaps_in_part(work: PartRows, kind: str, ngram_words: int, share: float) -> list[tuple[int, str, float]]:
    from stages.dedup.near_duplicates import (
        row_texts,  # polars takes 0.3 s to import, and most builds never compare texts
    )
    from stages.dedup.overlap import Benchmarks

    part, rows = work
    benchmarks = Benchmarks(BENCHMARKS.as_posix(), ngram_words)
    said = row_texts(pq.read_table(part, columns=list(COLUMNS[kind])), kind)
    held = ((row, benchmarks.find_overlap(said[row], share)) for row in rows.tolist())
    return [(row, *found) for row, found in held if found]


def near_duplicates(decision: Decision, kind: str, threshold: float, engine: str) -> dict[str, list[TurnedAwayRow]]:
    """{check: [(row, detail)]}: train rows near an eval row, and rows near an earlier row of their own side that is kept."""
    similar = similar_pairs(candidate_pairs("candidates", decision, kind, engine), decision, kind, threshold)
    # {row: (the other row, how alike they are)}
    leaks: dict[int, tuple[int, float]] = {}
    repeats: dict[int, tuple[int, float]] = {}
    for train, held_out, likeness in across_sides(similar, decision):
        leaks.setdefault(train, (held_out, likeness))
    for earlier, later, likeness in similar:
        if (
            decision.side[earlier] == decision.side[later]
            and not {earlier, later} & leaks.keys()
            and earlier not in repeats
        ):
            repeats.setdefault(later, (earlier, likeness))
    places = decision.places({other for near in (leaks, repeats) for other, _ in near.values()})
    return {
        check: [(row, f"{likeness:.0%} like {places[other]}") for row, (other, likeness) in sorted(near.items())]
        for check, near in (("curate.near_duplicate_of_eval", leaks), ("curate.near_duplicate", repeats))
    }


def candidate_pairs(query: str, decision: Decision, kind: str, engine: str) -> list[tuple[int, int]]:
    """Pairs of rows, of which a query of stages/dedup/sql says by their signatures that they may be alike."""
    work = decision.remaining_rows()
    for (_, rows), first, bands in zip(
        work,
        decision.first_rows,
        with_progress_bar(
            map_items(partial(bands_in_part, kind=kind), work, decision.size_bytes(), engine), len(work), "signatures"
        ),
        strict=True,
    ):
        numbers = np.repeat(rows + first, bands.shape[1])
        decision.database.register("found", pa.table({"row": numbers, "band": bands.ravel()}))
        decision.database.execute(
            "CREATE TABLE IF NOT EXISTS bands AS FROM found LIMIT 0; INSERT INTO bands FROM found"
        )
    pairs = decision.run_query(query)
    decision.database.execute("DROP TABLE bands")
    return pairs


def similar_pairs(
    pairs: list[tuple[int, int]],
    decision: Decision,
    kind: str,
    threshold: float,
    boilerplate: Set[object] = frozenset(),
) -> list[SimilarPair]:
    """(row, row, similarity) of the pairs that are as alike as `threshold`, or more. boilerplate: word triples that do not count."""
    from stages.dedup.near_duplicates import similarity

    texts = texts_of(decision, kind, {row for pair in pairs for row in pair})
    return [
        (a, b, likeness) for a, b in pairs if (likeness := similarity(texts[a], texts[b], boilerplate)) >= threshold
    ]


def across_sides(similar: Iterable[SimilarPair], decision: Decision) -> Iterator[SimilarPair]:
    """(train row, eval row, similarity) of the pairs of which one row is held out."""
    for earlier, later, likeness in similar:
        if decision.side[earlier] != decision.side[later]:
            yield (*((earlier, later) if decision.side[earlier] == TRAIN else (later, earlier)), likeness)


def print_near_leaks(name: str, decision: Decision, kind: str, engine: str) -> None:
    """Print how many eval rows are nearly a train row, where `near_duplicates` is null and rejects none."""
    rows, held_out = len(decision.side) - len(decision.reasons), int((decision.side == EVAL).sum())
    hint = f"curate.near_duplicates: {WARNED_LIKENESS} takes such rows out of train"
    if rows > MOST_COMPARED:
        print(f"  whether eval rows are nearly train rows is not looked for in {rows:,} rows: {hint}")
        return
    near: dict[int, tuple[int, float]] = {}  # {eval row: (train row, similarity)}
    if pairs := candidate_pairs("near_leaks", decision, kind, engine):
        boilerplate = boilerplate_triples(decision, kind)
        for train, row, likeness in similar_pairs(pairs, decision, kind, WARNED_LIKENESS, boilerplate):
            near.setdefault(row, (train, likeness))
    if near and len(near) >= WARNED_SHARE * held_out:
        row, (train, likeness) = min(near.items())
        places = decision.places({row, train})
        what = f"{len(near):,} of {held_out:,} eval rows are nearly a train row: {places[row]}, {likeness:.0%} like {places[train]}"
        found = Problem(f"datasets.{name}", what, "", f"a model may know their answers by heart; {hint}")
        print(f"warning: {found}")
    elif held_out:
        print(
            f"  {len(near) or 'none'} of the {held_out:,} eval rows {'is' if len(near) < 2 else 'are'} nearly a train row"
        )


def boilerplate_triples(decision: Decision, kind: str) -> set[object]:
    """The word triples that a tenth of the rows have, of a sample of them: a template, not the text of a row."""
    from stages.dedup.near_duplicates import word_triples

    rows = np.flatnonzero(decision.side != OUT)
    sample = rows[:: max(1, len(rows) // BOILERPLATE_SAMPLE)]
    counts = Counter(triple for text in texts_of(decision, kind, sample).values() for triple in word_triples(text))
    return {triple for triple, count in counts.items() if count >= max(MOST_COPIES, len(sample) / 10)}


def bands_in_part(work: PartRows, kind: str) -> np.ndarray:
    from stages.dedup.near_duplicates import row_texts, signatures

    part, rows = work
    texts = row_texts(pq.read_table(part, columns=list(COLUMNS[kind])), kind)
    return signatures(texts.gather(rows))


def texts_of(decision: Decision, kind: str, rows: Iterable[int]) -> dict[int, str]:
    """{row: its text} of some rows."""
    from stages.dedup.near_duplicates import row_texts

    texts: dict[int, str] = {}
    numbers = np.array(sorted(rows), np.int64)
    for part, first, end in zip(
        decision.parts, decision.first_rows, [*decision.first_rows[1:], len(decision.side)], strict=True
    ):
        here = numbers[(numbers >= first) & (numbers < end)]
        if len(here):
            table = pq.read_table(part, columns=list(COLUMNS[kind])).take(pa.array(here - first))
            texts |= dict(zip(here.tolist(), row_texts(table, kind), strict=True))
    return texts


def rejects_of_part(table: pa.Table, first: int, reasons: dict[int, tuple[str, str]], kind: str) -> pa.Table:
    """The rejects of a batch of rows that begins at row number `first`."""
    numbers = [row for row in range(first, first + len(table)) if row in reasons]
    rows = table.take(pa.array([row - first for row in numbers], pa.int64())).to_pylist()
    return to_table(
        [
            {
                "id": row["id"],
                "source": row["source"],
                "line": row["line"],
                "stage": "curate",
                "check": reasons[number][0],
                "detail": reasons[number][1],
                "raw": None
                if reasons[number][0] in (CURATE_CHECK, personal_data.CHECK)
                else ENCODE(row_content(row, kind)).decode(),
            }
            for number, row in zip(numbers, rows, strict=True)
        ],
        REJECTS,
    )
