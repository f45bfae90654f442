"""What became of each dataset, in numbers and in a few samples: counted by DuckDB, so that a million rows stay on disk.

data/train/<d>.parquet, data/eval/<d>.parquet, data/rejected/<d>.parquet -> a dict of plain data for the page

    summary("chat", {"kind": "sft", "raw": "data/raw/chat"}) ->
        {"name": "chat", "records": 4381, "train": 3643, "eval": 664, "rejected": 74, "reasons": [...], "lengths": {...}, ...}

Everything is counted in integers, whose sums do not depend on the order in which threads add them. The queries stand in
stages/reporting/templates/, beside the page's template: `curate` depends on all of stages/dedup/sql.
"""

from pathlib import Path

import duckdb

from stages.core.outcomes import NOT_SAMPLED, separate_not_sampled
from stages.reporting.clips import clip
from stages.rows.rejects import counts_by_check, personal_data_counts, reject_counts, unused_key_counts

SQL = Path(__file__).parent / "templates"
SPILL_FOLDER = Path(".work/duckdb")
SAMPLES, WIDTH, SOURCES, BINS = 3, 400, 12, 30
ROUND_STEPS = (1, 2, 5, 10, 20, 25, 50)


def dataset_summary(name, dataset):
    """All that the page says of one dataset; None for what cannot be told because a file is missing."""
    files = {side: Path("data", side, f"{name}.parquet") for side in ("train", "eval", "rejected")}
    missing = [str(path) for path in files.values() if not path.exists()]
    found = {"name": name, "kind": dataset["kind"], "raw": dataset["raw"], "missing": missing}
    if missing:
        return found
    with connect() as database:
        for side in ("train", "eval"):
            query = (SQL / f"rows_{dataset['kind']}.sql").read_text(encoding="utf-8")
            database.execute(f"CREATE TABLE {side} AS {query}", {"file": str(files[side])})
        found |= {side: single_value(database, f"SELECT count(*) FROM {side}") for side in ("train", "eval")}
        found |= count_rejects(database, files)
        found |= {
            "personal_data": personal_data_counts(files["rejected"]),
            "unused_keys": unused_key_counts(files["rejected"]),
            "sources": count_by_source(database, files["rejected"]),
            "prompts": single_value(database, "SELECT count(DISTINCT prompt) FROM train"),
            "lengths": length_histogram(database, "characters", "train"),
            "answers": answer_lengths(database, dataset["kind"]),
        }
        if dataset["kind"] == "kto":
            found["classes"] = {side: class_counts(database, side) for side in ("train", "eval")}
        if dataset["kind"] == "preference":
            found["bias"] = length_bias(database)
    return found


def connect():
    """DuckDB in memory, bounded, spilling into the project's own folder."""
    SPILL_FOLDER.mkdir(parents=True, exist_ok=True)
    database = duckdb.connect()
    database.execute(
        f"SET memory_limit = '1GB'; SET temp_directory = '{SPILL_FOLDER}'; SET preserve_insertion_order = false"
    )
    return database


def single_value(database, query, values=None):
    return database.execute(query, values).fetchone()[0]


def rows_as_dicts(database, query, values=None):
    database.execute(query, values)
    names = [column[0] for column in database.description]
    return [dict(zip(names, row, strict=True)) for row in database.fetchall()]


# -- what was turned away -----------------------------------------------------------------------------------------


def count_rejects(database, files):
    """{"records": of the raw files, "rejected", "not_sampled": counts, "reasons": [{check, stage, count, samples}]}, the most frequent first."""
    paths = {side: str(path) for side, path in files.items()}
    found, not_sampled = separate_not_sampled(reject_counts(paths["rejected"]))
    stage_of = {check: stage for stage, check in sorted(found, reverse=True)}
    reasons = [
        {"check": name, "stage": stage_of[name], "count": count} for name, count in counts_by_check(found).items()
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
    return {
        "records": single_value(database, records, paths),
        "rejected": found.total(),
        "not_sampled": not_sampled,
        "reasons": [
            reason | {"samples": [sample for sample in samples if sample["check"] == reason["check"]]}
            for reason in reasons
        ],
    }


# -- what the rows are like ---------------------------------------------------------------------------------------


def count_by_source(database, rejected):
    """[{source, train, eval, rejected, not_sampled}] of the largest raw files, the others added up as one with `source` None."""
    query = """
        SELECT source, sum(train)::BIGINT AS train, sum("eval")::BIGINT AS "eval", sum(rejected)::BIGINT AS rejected,
            sum(not_sampled)::BIGINT AS not_sampled FROM (
            SELECT source, 1 AS train, 0 AS "eval", 0 AS rejected, 0 AS not_sampled FROM train
            UNION ALL SELECT source, 0, 1, 0, 0 FROM "eval"
            UNION ALL SELECT source, 0, 0, ("check" <> $unsampled)::INT, ("check" = $unsampled)::INT FROM read_parquet($file))
        GROUP BY source ORDER BY sum(train) DESC, source"""
    found = rows_as_dicts(database, query, {"file": str(rejected), "unsampled": NOT_SAMPLED})
    if len(found) > SOURCES:
        rest = found[SOURCES - 1 :]
        others = {side: sum(row[side] for row in rest) for side in ("train", "eval", "rejected", "not_sampled")}
        found = [*found[: SOURCES - 1], {"source": None, "files": len(rest), **others}]
    return found


def length_histogram(database, column, table, where="true", width=0):
    """{p50, p95, max, rows, width, bins: [{low, high, count}], open} of a column of counts; None where there are no rows.

    width: of a bin, at least. open: the last bin holds all that is longer as well.
    """
    query = f"SELECT quantile_disc({column}, [0.5, 0.95, 0.995]), max({column}), count(*) FROM {table} WHERE {where}"
    quantiles, top, rows = database.execute(query).fetchone()
    if not rows:
        return None
    p50, p95, most = quantiles
    # a few very long rows would leave one bar at the left: they are counted in the last bin
    width = max(width, bin_width(min(top, max(most, 1) * 2)))
    counted = database.execute(
        f"SELECT least({column} // {width}, {BINS - 1}) AS bin, count(*) FROM {table} WHERE {where} GROUP BY bin"
    ).fetchall()
    counts = dict(counted)
    bins = [{"low": width * i, "high": width * (i + 1), "count": counts.get(i, 0)} for i in range(int(max(counts)) + 1)]
    return {"p50": p50, "p95": p95, "max": top, "rows": rows, "width": width, "bins": bins, "open": top >= width * BINS}


def bin_width(top):
    """The smallest round width of which BINS bins reach `top`."""
    magnitude = 1
    while True:
        for step in ROUND_STEPS:
            if step * magnitude * BINS > top:
                return step * magnitude
        magnitude *= 100


def answer_lengths(database, kind):
    """[(name, lengths)] of the two sorts of answers that a method tells apart; empty for the other kinds."""
    if kind == "preference":
        sides = [("chosen", "answer", "true"), ("rejected", "other", "true")]
    elif kind == "kto":
        sides = [("true", "answer", "label"), ("false", "answer", "NOT label")]
    else:
        return []
    widths = [
        item["width"] for _, column, where in sides if (item := length_histogram(database, column, "train", where))
    ]
    # one width for both: bars of different widths cannot be compared
    found = [
        (name, length_histogram(database, column, "train", where, max(widths, default=0)))
        for name, column, where in sides
    ]
    return [(name, item) for name, item in found if item]


def class_counts(database, side):
    good, rows = database.execute(f"SELECT count(*) FILTER (label), count(*) FROM {side}").fetchone()
    return {"true": good, "false": rows - good}


def length_bias(database):
    """How often the chosen answer is the longer one: {longer, shorter, equal}."""
    query = """SELECT count(*) FILTER (answer > other) AS longer, count(*) FILTER (answer < other) AS shorter,
                      count(*) FILTER (answer = other) AS equal FROM train"""
    return rows_as_dicts(database, query)[0]
