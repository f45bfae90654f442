"""Records that say almost the same, by the measure of curate: the Jaccard similarity of word triples.

DuckDB leaves of a million rows those that have one of a few rare triples; of these the similarity is computed.
"""

import json
import re

from commands.records.table import (
    Record,
    is_messages,
    place_columns,
    query_rows,
    read_contents,
    row_columns,
    spoken_sql,
    unreadable_problem,
)


def find_similar(database, build, paths, problems, text, records, least):
    """Every record at least so similar, by the measure of curate: Jaccard of word triples.

    Similar to a text given by the user is a row, or one turn of it; to other records, a row as a whole.
    """
    from stages.dedup.near_duplicates import similarity

    read_contents(build, paths, records)
    wanted = [text] if text is not None else sorted({" ".join(texts_of_turns(record, build)) for record in records})
    itself = {(record.room, record.dataset, record.row) for record in records}
    found = []
    for key, path in paths.items():
        for record in near_candidates(database, key, path, problems, build, wanted, least):
            turns = texts_of_turns(record, build)
            parts = [" ".join(turns), *(turns if text is not None else [])]
            record.likeness = max(similarity(one, part) for one in wanted for part in parts)
            if record.likeness >= least and (*key, record.row) not in itself:
                found.append(record)
    return found


def near_candidates(database, key, path, problems, build, wanted, least):
    """The records of a table that may be so similar, with their content: of the others it is certain that they are not.

    A similar text can lack only so many of the triples: it has one at least of any larger number of them.
    """
    from stages.dedup.near_duplicates import word_triples

    groups = [
        [one] if isinstance(one, str) else list(one)
        for text in wanted
        for one in choose_probes(word_triples(text), least)
    ]
    try:
        columns = {} if key[0] == "rejected" else row_columns(path, build.datasets[key[1]]["kind"])
    except (OSError, ValueError) as error:
        problems.append(unreadable_problem(path, error))
        return
    if key[0] == "rejected":
        # JSON has other white space: any word of a triple must do
        words = sorted({max(group, key=len) for group in groups})
        where, given = "raw IS NOT NULL", {}
    else:
        whole = [
            f"array_to_string(list_transform({name}, lambda m: {spoken_sql(column)}), ' ')"
            if is_messages(column)
            else name
            for name, column in columns.items()
            if is_messages(column) or name == "ground_truth"
        ]
        where = f"regexp_matches(lower(concat_ws(' ', {', '.join(whole)})), $probes)"
        given = {"probes": "|".join(r"\s+".join(map(re.escape, group)) for group in groups)}
    names = ["raw"] if key[0] == "rejected" else list(columns)
    for row in query_rows(database, path, problems, f"{place_columns(key[0])}, {', '.join(names)}", where, given):
        record = Record(*key, *row[:7], exact=False)
        record.content = row[7] if key[0] == "rejected" else dict(zip(names, row[7:], strict=True))
        if key[0] != "rejected" or any(word in record.content.lower() for word in words):
            yield record


def choose_probes(groups, least):
    """So many triples that a similar text has one of them at least; those with the longest words, as they are rare."""
    groups = sorted(groups, key=lambda group: (-max(map(len, group)), group))
    return groups[: int((1 - least) * len(groups) + 1e-9) + 1]


def texts_of_turns(record, build):
    """The text of each turn of a record, and its ground truth; the raw text of what never became a row."""
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
