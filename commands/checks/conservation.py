"""Account for every raw record, one by one, from the tables themselves.

Raw records = records that became rows + rejects of ingest. Rows = train + eval + rejects, each with its id and place. The
check takes the Evidence of `tilth verify` and returns (counts, problems).
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commands.builds.evidence import Evidence, Verdict
from commands.records.account import account as account_of
from commands.records.account import read_columns
from validators.problems import Problem, Problems

MAX_SHOWN = 5
REBUILD_HINT = "dvc repro builds it anew; git log -p dvc.lock shows who changed what"
ONCE_EACH = "each row of ingest once in train, eval or rejected"
# rejects that keep no text to compute an id from: deleted on request, or with personal data
WITHOUT_TEXT = ("ingest.forgotten", "curate.forgotten", "curate.personal_data")


# -- conservation -------------------------------------------------------------------------------------------------


def records(evidence: Evidence) -> Verdict:
    """Each raw record is a row or a reject, and each row is in train, eval or rejected, once."""
    counts, problems = {"records": 0, "rows": 0, "rejected": 0}, []
    for name in evidence.build.datasets:
        paths = tables_of(name)
        unreadable = [problem for files in paths.values() for problem in unreadable_files(files)]
        problems += unreadable
        if unreadable or not all(paths.values()):
            continue  # the check `outputs` names what is missing
        account = account_of(name)
        problems += [Problem(f"datasets.{name}", fault, "", REBUILD_HINT) for fault in account["faults"]]
        problems += unmatched_rows(name, paths) + duplicate_ids(name, paths) + differing_rejects(name, paths)
        problems += unsorted_prompts(evidence, name, paths)
        problems += unknown_checks(name, account, evidence.rev) + unmatched_records(evidence, name, paths)
        counts["records"] += account["records"]
        counts["rows"] += account["rows"]
        counts["rejected"] += sum(sum((checks or {}).values()) for checks in account["rejected"].values())
    return counts, problems


def tables_of(name: str) -> dict[str, list[str]]:
    """{room: its Parquet files} of a dataset; `rows` and `refused` belong to ingest."""
    found = {room: [Path("data", room, f"{name}.parquet")] for room in ("train", "eval", "rejected", "validated")}
    found["rows"] = sorted(Path("data/ingested", name, "rows").glob("*.parquet"))
    found["refused"] = [Path("data/ingested", name, "rejects.parquet")]
    return {room: [str(path) for path in paths if path.is_file()] for room, paths in found.items()}


def unreadable_files(paths: list[str]) -> list[Problem]:
    """A Problem for each file that is not Parquet, or lacks a column that a row is found by."""
    problems = []
    for path in paths:
        try:
            table = read_columns(path, ["id", "source", "line"])
            missing = {"id", "source", "line"} - set(table.column_names) if table is not None else None
            if missing:
                problems.append(Problem(path, f"has no column {', '.join(sorted(missing))}", "", REBUILD_HINT))
        except Problems as error:
            problems += error.problems
    return problems


def run_query(query: str, **values: object) -> list[tuple[Any, ...]]:
    """The result of a query as tuples. Uses at most half a gigabyte of memory."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tilth_") as spill, duckdb.connect() as database:
        database.execute(
            f"SET memory_limit = '500MB'; SET temp_directory = '{spill}'; SET preserve_insertion_order = false"
        )
        return database.execute(query, values).fetchall()


def first_few(problems: list[Problem], what: str) -> list[Problem]:
    """The first problems of a kind, and one that counts the rest."""
    if len(problems) <= MAX_SHOWN:
        return problems
    return [
        *problems[:MAX_SHOWN],
        Problem(problems[0].where.partition(": ")[0], f"{len(problems) - MAX_SHOWN:,} more {what}"),
    ]


def unmatched_rows(name: str, paths: Mapping[str, list[str]]) -> list[Problem]:
    """Rows of ingest that are missing later or are there twice, and later rows that ingest never made."""
    unmatched = run_query(
        """
        WITH places AS (
            SELECT id, source, line, 1 AS came, 0 AS went FROM read_parquet($rows)
            UNION ALL SELECT id, source, line, 0, 1 FROM read_parquet($kept)
            UNION ALL SELECT id, source, line, 0, 1 FROM read_parquet($rejected) WHERE stage <> 'ingest'
        )
        SELECT id, source, line, sum(came), sum(went) FROM places
        GROUP BY ALL HAVING sum(came) <> sum(went) ORDER BY source, line, id
        """,
        rows=paths["rows"],
        kept=paths["train"] + paths["eval"],
        rejected=paths["rejected"],
    )
    found = [
        Problem(
            row_place(name, source, line),
            f"row {short_id(id)}: {int(came)} from ingest, {int(went)} after it",
            ONCE_EACH,
            REBUILD_HINT,
        )
        for id, source, line, came, went in unmatched
    ]
    return first_few(found, "rows are lost or made up")


def unsorted_prompts(evidence: Evidence, name: str, paths: Mapping[str, list[str]]) -> list[Problem]:
    """Train rows that `keep` should have sorted and has not, and sorted rows that are not in train."""
    from stages.training.kept_prompts import kept_path

    is_sorted = name in (evidence.build.params.get("difficulty") or {}) and f"keep@{name}" in evidence.build.stages
    if not is_sorted or not kept_path(name).is_file():
        return []
    if problems := unreadable_files([str(kept_path(name))]):
        return problems
    query = """
        SELECT id, max(source), max(line), count(*) FILTER (WHERE here = 'train'), count(*) FILTER (WHERE here = 'kept') FROM (
            SELECT id, source, line, 'train' AS here FROM read_parquet($train)
            UNION ALL SELECT id, source, line, 'kept' FROM read_parquet($kept)
        ) GROUP BY id HAVING count(*) <> 2 OR count(DISTINCT here) <> 2 ORDER BY ALL
    """
    kept = [str(kept_path(name))]
    if not run_query("SELECT count(*) FROM read_parquet($kept)", kept=kept)[0][0] and not is_trained_on(evidence, name):
        return []
    found = [
        Problem(
            row_place(name, source, line),
            f"row {short_id(id)}: {train} times in train, {there} times in {kept[0]}",
            "once in each",
            REBUILD_HINT,
        )
        for id, source, line, train, there in run_query(query, train=paths["train"], kept=kept)
    ]
    return first_few(found, "prompts are not sorted")


def is_trained_on(evidence: Evidence, name: str) -> bool:
    """Whether a step trains on a dataset."""
    return any(step["dataset"] == name for step in evidence.build.steps.values())


def row_place(name: str, source: str, line: int) -> str:
    return f"datasets.{name}: {source}:{line}"


def short_id(id: str | None) -> str:
    return (id or "without id")[:12]


def duplicate_ids(name: str, paths: Mapping[str, list[str]]) -> list[Problem]:
    """Ids that train and eval of a dataset hold more than once."""
    query = """
        SELECT id, count(*), min(source || ':' || line), max(source || ':' || line) FROM read_parquet($kept)
        GROUP BY id HAVING count(*) > 1 ORDER BY id
    """
    found = [
        Problem(
            f"datasets.{name}: row {short_id(id)}",
            f"{count} times in train and eval: {first}, {last}",
            "once",
            REBUILD_HINT,
        )
        for id, count, first, last in run_query(query, kept=paths["train"] + paths["eval"])
    ]
    return first_few(found, "ids are there twice")


def differing_rejects(name: str, paths: Mapping[str, list[str]]) -> list[Problem]:
    """Rejects of ingest and validate that differ in data/rejected from what those stages wrote."""
    from stages.rows.personal_data import WITHHELD

    key = 'concat_ws(chr(0), id, source, line, stage, "check")'
    # curate withholds the text of a reject with personal data, and says so in the detail
    columns = f"""
        id, source, line, stage, "check",
        CASE WHEN {key} NOT IN (FROM withheld) THEN detail END, CASE WHEN {key} NOT IN (FROM withheld) THEN raw END
    """
    query = f"""
        WITH withheld AS (
            SELECT DISTINCT {key} FROM read_parquet($after) WHERE raw IS NULL AND contains(detail, '{WITHHELD}')
        ),
        before AS (SELECT {columns} FROM read_parquet($before)),
        after AS (SELECT {columns} FROM read_parquet($after) WHERE stage <> 'curate')
        (SELECT 'is not in data/rejected', * FROM (FROM before EXCEPT ALL FROM after))
        UNION ALL (SELECT 'is in data/rejected alone', * FROM (FROM after EXCEPT ALL FROM before)) ORDER BY ALL
    """
    found = [
        Problem(row_place(name, source, line), f"a reject by {check} {what}", f"as {stage} wrote it", REBUILD_HINT)
        for what, _, source, line, stage, check, *_ in run_query(
            query, before=paths["refused"] + paths["validated"], after=paths["rejected"]
        )
    ]
    return first_few(found, "rejects differ")


def unknown_checks(name: str, account: Mapping[str, Any], rev: str | None) -> list[Problem]:
    """Rejects by a check that their stage does not have. Skipped for a past commit, which may have had other checks."""
    from stages.rows.checks import CURATE, INGEST, KEEP, every_check

    names = every_check()
    of_stage = {"ingest": INGEST.keys(), "curate": CURATE.keys()}
    of_stage["validate"] = names.keys() - INGEST.keys() - CURATE.keys() - KEEP.keys()
    return [
        Problem(
            f"datasets.{name}", f"{count:,} rejected by {check}", f"a check of {stage} in docs/checks.md", REBUILD_HINT
        )
        for stage, checks in account["rejected"].items()
        for check, count in checks.items()
        if check not in of_stage[stage] and rev is None
    ]


# -- raw records --------------------------------------------------------------------------------------------------


def unmatched_records(evidence: Evidence, name: str, paths: Mapping[str, list[str]]) -> list[Problem]:
    """Raw records without a row or reject, and rows and rejects without a raw record."""
    from stages.reading.files import raw_files
    from stages.rows.options import options_of

    dataset, problems = evidence.build.datasets[name], []
    try:
        files = {
            path.as_posix(): path
            for path in raw_files(dataset["raw"], f"datasets.{name}.raw", dataset.get("exclude") or ())
        }
    except Problems as error:
        return [] if evidence.absent_in(dataset["raw"]) else error.problems
    lines = dict(
        run_query(
            """
            WITH places AS (SELECT DISTINCT source, line FROM read_parquet($files))
            SELECT source, list(line ORDER BY line) FROM places GROUP BY source
            """,
            files=paths["rows"] + paths["refused"],
        )
    )
    for source in sorted(lines.keys() | files.keys()):
        if source not in files:
            problems.append(
                Problem(
                    f"datasets.{name}: {source}",
                    "rows come from this file, but it is missing",
                    "a raw file",
                    REBUILD_HINT,
                )
            )
        elif not evidence.absent_in(source):
            existing, used = record_lines(files[source], options_of(dataset).numbered), set(lines.get(source, ()))
            for numbers, found, expected in (
                (existing - used, "no row and no reject comes from this record", "one of them"),
                (used - existing, "a row or reject comes from a record that does not exist", ""),
            ):
                problems += [
                    Problem(row_place(name, source, line), found, expected, REBUILD_HINT) for line in sorted(numbers)
                ]
    return first_few(problems, "records are not accounted for")


def record_lines(path: Path, numbered: bool) -> set[int]:
    """The numbers of the records of a raw file."""
    from stages.reading.containers import detect_container
    from stages.reading.parts import parts_of
    from stages.reading.readers import read_lines, records

    kind = detect_container(path)
    if kind == "jsonl":
        return {number for part in parts_of(path) for number, _ in read_lines(part)}
    return {record.line for record in records(path, kind, numbered)}
