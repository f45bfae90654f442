"""A summary of each dataset in numbers and a few samples. DuckDB counts, so a million rows stay on disk.

data/train/<d>.parquet, data/eval/<d>.parquet, data/rejected/<d>.parquet -> a dict of plain data for the page

    dataset_summary("chat", {"kind": "sft", "raw": "data/raw/chat"}) ->
        {"name": "chat", "records": 4381, "train": 3643, "eval": 664, "rejected": 74, "reasons": [...], "lengths": {...}, ...}

All counts are integers, so the order in which threads add them does not matter. The queries are in
stages/reporting/templates/, because `curate` depends on all of stages/dedup/sql.
"""

from pathlib import Path
from typing import Any

import duckdb

from stages.core.outcomes import NOT_SAMPLED, separate_not_sampled
from stages.reporting.clips import clip
from stages.rows.rejects import counts_by_check, personal_data_counts, reject_counts, unused_key_counts

Values = dict[str, Any] | None
SQL = Path(__file__).parent / "templates"
SPILL_FOLDER = Path(".work/duckdb")
SAMPLES, WIDTH, SOURCES, BINS = 3, 400, 12, 30
ROUND_STEPS = (1, 2, 5, 10, 20, 25, 50)


def dataset_summary(name: str, dataset: dict[str, Any]) -> dict[str, Any]:
    """The page's numbers and samples of one dataset. Where a file is missing, only its name, kind, raw folder and `missing`."""
    files = {side: Path("data", side, f"{name}.parquet") for side in ("train", "eval", "rejected")}
    missing = [str(path) for path in files.values() if not path.exists()]
    summary = {"name": name, "kind": dataset["kind"], "raw": dataset["raw"], "missing": missing}
    if missing:
        return summary
    with connect() as database:
        for side in ("train", "eval"):
            query = (SQL / f"rows_{dataset['kind']}.sql").read_text(encoding="utf-8")
            database.execute(f"CREATE TABLE {side} AS {query}", {"file": str(files[side])})
        summary |= {side: single_value(database, f"SELECT count(*) FROM {side}") for side in ("train", "eval")}
        summary |= count_rejects(database, files)
        summary |= {
            "personal_data": personal_data_counts(files["rejected"]),
            "unused_keys": unused_key_counts(files["rejected"]),
            "sources": count_by_source(database, files["rejected"]),
            "prompts": single_value(database, "SELECT count(DISTINCT prompt) FROM train"),
            "lengths": length_histogram(database, "characters", "train"),
            "answers": answer_lengths(database, dataset["kind"]),
        }
        if dataset["kind"] == "kto":
            summary["classes"] = {side: class_counts(database, side) for side in ("train", "eval")}
        if dataset["kind"] == "preference":
            summary["bias"] = length_bias(database)
    return summary


def connect() -> duckdb.DuckDBPyConnection:
    """DuckDB in memory, with a memory limit; it spills into the project's own folder."""
    SPILL_FOLDER.mkdir(parents=True, exist_ok=True)
    database = duckdb.connect()
    database.execute(
        f"SET memory_limit = '1GB'; SET temp_directory = '{SPILL_FOLDER}'; SET preserve_insertion_order = false"
    )
    return database


def single_value(database: duckdb.DuckDBPyConnection, query: str, values: Values = None) -> int:
    return first_row(database, query, values)[0]


def first_row(database: duckdb.DuckDBPyConnection, query: str, values: Values = None) -> tuple[Any, ...]:
    row = database.execute(query, values).fetchone()
    assert row is not None  # an aggregate has one
    return row


def rows_as_dicts(database: duckdb.DuckDBPyConnection, query: str, values: Values = None) -> list[dict[str, Any]]:
    database.execute(query, values)
    names = [column[0] for column in database.description]
    return [dict(zip(names, row, strict=True)) for row in database.fetchall()]


# -- rejects ------------------------------------------------------------------------------------------------------


def count_rejects(database: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> dict[str, Any]:
    """{"records": raw records, "records_of": {file: its raw records}, "rejected", "not_sampled": counts, "reasons": [{check, stage, count, samples}]}.

    The most frequent reason is first.
    """
    paths = {side: str(path) for side, path in files.items()}
    counts, not_sampled = separate_not_sampled(reject_counts(paths["rejected"]))
    stage_of = {check: stage for stage, check in sorted(counts, reverse=True)}
    reasons = [
        {"check": name, "stage": stage_of[name], "count": count} for name, count in counts_by_check(counts).items()
    ]
    records = (SQL / "records.sql").read_text(encoding="utf-8")
    samples = rows_as_dicts(
        database,
        (SQL / "samples.sql").read_text(encoding="utf-8"),
        {"file": paths["rejected"], "samples": SAMPLES, "width": WIDTH},
    )
    for sample in samples:
        for key in ("detail", "raw"):
            sample[key] = clip(sample[key] or "", WIDTH, sample[f"{key}_length"] or 0)
    records_of = dict(database.execute(records, paths).fetchall())
    return {
        "records": sum(records_of.values()),
        "records_of": records_of,
        "rejected": counts.total(),
        "not_sampled": not_sampled,
        "reasons": [
            reason | {"samples": [sample for sample in samples if sample["check"] == reason["check"]]}
            for reason in reasons
        ],
    }


# -- rows ---------------------------------------------------------------------------------------------------------


def count_by_source(database: duckdb.DuckDBPyConnection, rejected: Path) -> list[dict[str, Any]]:
    """[{source, train, eval, rejected, not_sampled}] of the largest raw files. The last one adds up the others; its `source` is None."""
    query = """
        SELECT source, sum(train)::BIGINT AS train, sum("eval")::BIGINT AS "eval", sum(rejected)::BIGINT AS rejected,
            sum(not_sampled)::BIGINT AS not_sampled FROM (
            SELECT source, 1 AS train, 0 AS "eval", 0 AS rejected, 0 AS not_sampled FROM train
            UNION ALL SELECT source, 0, 1, 0, 0 FROM "eval"
            UNION ALL SELECT source, 0, 0, ("check" <> $unsampled)::INT, ("check" = $unsampled)::INT FROM read_parquet($file))
        GROUP BY source ORDER BY sum(train) DESC, source"""
    sources = rows_as_dicts(database, query, {"file": str(rejected), "unsampled": NOT_SAMPLED})
    if len(sources) > SOURCES:
        rest = sources[SOURCES - 1 :]
        others = {side: sum(row[side] for row in rest) for side in ("train", "eval", "rejected", "not_sampled")}
        sources = [*sources[: SOURCES - 1], {"source": None, "files": len(rest), **others}]
    return sources


def length_histogram(
    database: duckdb.DuckDBPyConnection, column: str, table: str, where: str = "true", width: int = 0
) -> dict[str, Any] | None:
    """{p50, p95, max, rows, width, bins: [{low, high, count}], open} of a column of counts; None where there are no rows.

    width: the least width of a bin. open: the last bin also counts everything longer.
    """
    query = f"SELECT quantile_disc({column}, [0.5, 0.95, 0.995]), max({column}), count(*) FROM {table} WHERE {where}"
    quantiles, top, rows = first_row(database, query)
    if not rows:
        return None
    p50, p95, most = quantiles
    # a few very long rows would leave a single bar at the left, so the last bin counts them
    width = max(width, bin_width(min(top, max(most, 1) * 2)))
    counted = database.execute(
        f"SELECT least({column} // {width}, {BINS - 1}) AS bin, count(*) FROM {table} WHERE {where} GROUP BY bin"
    ).fetchall()
    counts = dict(counted)
    bins = [{"low": width * i, "high": width * (i + 1), "count": counts.get(i, 0)} for i in range(int(max(counts)) + 1)]
    return {"p50": p50, "p95": p95, "max": top, "rows": rows, "width": width, "bins": bins, "open": top >= width * BINS}


def bin_width(top: int) -> int:
    """The smallest round width at which BINS bins reach beyond `top`."""
    magnitude = 1
    while True:
        for step in ROUND_STEPS:
            if step * magnitude * BINS > top:
                return step * magnitude
        magnitude *= 100


def answer_lengths(database: duckdb.DuckDBPyConnection, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """[(name, histogram)] of the two sorts of answers that a method compares; [] for the other kinds."""
    if kind == "preference":
        sides = [("chosen", "answer", "true"), ("rejected", "other", "true")]
    elif kind == "kto":
        sides = [("true", "answer", "label"), ("false", "answer", "NOT label")]
    else:
        return []
    widths = [
        item["width"] for _, column, where in sides if (item := length_histogram(database, column, "train", where))
    ]
    # one width for both, because bars of different widths cannot be compared
    histograms = [
        (name, length_histogram(database, column, "train", where, max(widths, default=0)))
        for name, column, where in sides
    ]
    return [(name, item) for name, item in histograms if item]


def class_counts(database: duckdb.DuckDBPyConnection, side: str) -> dict[str, int]:
    good, rows = first_row(database, f"SELECT count(*) FILTER (label), count(*) FROM {side}")
    return {"true": good, "false": rows - good}


def length_bias(database: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """{longer, shorter, equal}: pairs by the length of the chosen answer against the rejected one."""
    query = """SELECT count(*) FILTER (answer > other) AS longer, count(*) FILTER (answer < other) AS shorter,
                      count(*) FILTER (answer = other) AS equal FROM train"""
    return rows_as_dicts(database, query)[0]
