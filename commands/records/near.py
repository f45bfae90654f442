"""Records that say almost the same, by the measure of curate: the Jaccard similarity of word triples.

DuckDB selects the rows that have one of a few rare triples. The similarity is computed for these alone.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.builds.build import Build
from commands.records.table import (
    Paths,
    Record,
    is_messages,
    place_columns,
    query_rows,
    read_contents,
    row_columns,
    spoken_sql,
    unreadable_problem,
)
from validators.problems import Problem

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def find_similar(
    database: "DuckDBPyConnection",
    build: Build,
    paths: Paths,
    problems: list[Problem],
    text: str | None,
    records: Sequence[Record],
    min_similarity: float,
) -> list[Record]:
    """Every record that is similar enough to a text of the user's, or to some records.

    A text is compared with each row and with each turn of it; a record with whole rows.
    """
    from stages.dedup.near_duplicates import similarity

    read_contents(build, paths, records)
    wanted = [text] if text is not None else sorted({" ".join(texts_of_turns(record, build)) for record in records})
    itself = {(record.room, record.dataset, record.row) for record in records}
    found = []
    for key, path in paths.items():
        for record in near_candidates(database, key, path, problems, build, wanted, min_similarity):
            turns = texts_of_turns(record, build)
            parts = [" ".join(turns), *(turns if text is not None else [])]
            record.likeness = max(similarity(one, part) for one in wanted for part in parts)
            if record.likeness >= min_similarity and (*key, record.row) not in itself:
                found.append(record)
    return found


def near_candidates(
    database: "DuckDBPyConnection",
    key: tuple[str, str],
    path: Path,
    problems: list[Problem],
    build: Build,
    wanted: Iterable[str],
    min_similarity: float,
) -> Iterator[Record]:
    """The records of a table that can be similar enough, with their content; no other record can.

    A similar text lacks only so many of the triples: of any larger number of them it has at least one.
    """
    from stages.dedup.near_duplicates import word_triples

    groups = [
        [one] if isinstance(one, str) else list(one)
        for text in wanted
        for one in choose_probes(word_triples(text), min_similarity)
    ]
    try:
        columns = {} if key[0] == "rejected" else row_columns(path, build.datasets[key[1]]["kind"])
    except (OSError, ValueError) as error:
        problems.append(unreadable_problem(path, error))
        return
    if key[0] == "rejected":
        # JSON has other white space, so one word stands for its triple
        words = sorted({max(group, key=len) for group in groups})
        where, values = "raw IS NOT NULL", {}
    else:
        whole = [
            f"array_to_string(list_transform({name}, lambda m: {spoken_sql(column)}), ' ')"
            if is_messages(column)
            else name
            for name, column in columns.items()
            if is_messages(column) or name == "ground_truth"
        ]
        where = f"regexp_matches(lower(concat_ws(' ', {', '.join(whole)})), $probes)"
        values = {"probes": "|".join(r"\s+".join(map(re.escape, group)) for group in groups)}
    names = ["raw"] if key[0] == "rejected" else list(columns)
    for row in query_rows(database, path, problems, f"{place_columns(key[0])}, {', '.join(names)}", where, values):
        record = Record(*key, *row[:7], exact=False)
        record.content = row[7] if key[0] == "rejected" else dict(zip(names, row[7:], strict=True))
        if key[0] != "rejected" or any(word in row[7].lower() for word in words):
            yield record


def choose_probes(triples: Iterable[Any], min_similarity: float) -> list[Any]:
    """As many triples as a similar text must share at least one of; those with the longest words, which are rare."""
    ordered = sorted(triples, key=lambda triple: (-max(map(len, triple)), triple))
    return ordered[: int((1 - min_similarity) * len(ordered) + 1e-9) + 1]


def texts_of_turns(record: Record, build: Build) -> list[str]:
    """The text of each turn of a record, and its ground truth; the raw text of a record that never became a row."""
    from stages.rows.tables import COLUMNS, MESSAGES

    row = record.content
    if not isinstance(row, dict):
        if not record.id or not row:
            return [row or ""]
        row = json.loads(row)
    kind = build.datasets[record.dataset]["kind"]
    turns = [turn for name, column in COLUMNS[kind].items() if column == MESSAGES for turn in row.get(name) or []]
    spoken = [" ".join(filter(None, (turn.get("reasoning_content"), turn["content"]))) for turn in turns]
    return [text for text in [*spoken, row.get("ground_truth")] if text]
