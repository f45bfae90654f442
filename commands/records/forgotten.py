"""Where forgotten records still are: in the build, and in the objects that earlier builds left in the cache.

find_breaks(build)            # Problems: a forgotten record in a table, in scores, or a model that may have seen one
find_old_objects(build, ids)  # objects of the cache that the present build does not use, and that hold one of the ids
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from commands.builds.build import Build, file_of, files_of, folder_listing, hashes_of_output, object_of
from commands.builds.evidence import Evidence, Verdict
from commands.builds.git import Missing, git, text_of
from commands.builds.lock import Stage, cached_runs, read_lock
from commands.records.table import ROOMS, Record, connect, query_rows, row_columns
from stages.dedup import forgotten as _forgotten
from stages.dedup.forgotten import Forgotten
from stages.training.kept_prompts import kept_path
from stages.training.rollouts import rollouts_path
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    import pyarrow as pa

Match = tuple[Record, Forgotten, str]  # (row, entry of the list, why it is a match)
MAX_COMMITS, MAX_RUNS, MAX_OBJECTS = 200, 2_000, 5_000


def forgotten_entries(build: Build) -> list[Forgotten]:
    """The list of forgotten records of a build; empty for a commit from before the list existed."""
    if build.rev is None:
        return _forgotten.read_forgotten()
    try:
        return _forgotten.parse_forgotten(
            text_of(build.rev, _forgotten.FORGOTTEN_FILE.as_posix()), f"{build.rev[:10]}:{_forgotten.FORGOTTEN_FILE}"
        )
    except Missing:
        return []


def threshold(build: Build) -> float:
    """The similarity from which a row counts as a forgotten one, as in curate."""
    from stages.dedup.sketches import MIN_SIMILARITY

    return (build.params.get("curate") or {}).get("near_duplicates") or MIN_SIMILARITY


# -- what is built ------------------------------------------------------------------------------------------------


def find_breaks(build: Build) -> list[Problem]:
    """A Problem for each file that holds a forgotten record, or may; empty where nothing is forgotten."""
    entries = forgotten_entries(build)
    if not entries:
        return []
    matches, problems = find_forgotten_rows(build, entries, [*ROOMS, "ingested", "validated"])
    by_file: dict[tuple[str, str], list[str]] = {}
    for record, entry, why in matches:
        where = f"data/{record.room}/{record.dataset}" + ".parquet" * (record.room != "ingested")
        # ingest leaves out by id alone: it keeps a copy of a row that curate rejects, until that id is listed too
        unlisted = why != "by id" and record.room in ("ingested", "validated")
        hint = f"tilth forget {record.id} --reason ..., then dvc repro" if unlisted else "dvc repro"
        by_file.setdefault((where, hint), []).append(f"{entry.id[:12]}… ({why}, from {record.place})")
    for (where, hint), found in by_file.items():
        more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
        many = f"{len(found):,} forgotten rows" if len(found) > 1 else "a forgotten row"
        problems.append(Problem(where, f"holds {many}: {', '.join(found[:3])}{more}", "", hint))
    return problems + score_problems(build, entries) + model_problems(build)


def forgotten(evidence: Evidence) -> Verdict:
    """No table, score or model holds a record of the list."""
    return {"listed": len(forgotten_entries(evidence.build))}, find_breaks(evidence.build)


def score_problems(build: Build, entries: Iterable[Forgotten]) -> list[Problem]:
    """Scores, rollouts and samples of forgotten rows: they hold what a model generated for them."""
    problems: list[Problem] = []
    ids = [entry.id for entry in entries]
    places = [(f"scores/{model}.parquet", "scores") for model in ["base", *build.steps]]
    places += [(rollouts_path(step).as_posix(), "has answers to") for step in build.steps]
    for name in build.params.get("difficulty") or ():
        places += [(f"data/sampled/{name}.parquet", "has answers to"), (kept_path(name).as_posix(), "sorts")]
    for place, verb in places:
        try:
            path = file_of(build, place)
        except Missing:
            continue
        for (name,) in query_rows(connect(), path, problems, "DISTINCT id", "id IN $ids", {"ids": ids}):
            problems.append(Problem(place, f"{verb} the forgotten record {name[:12]}…", "", "dvc repro"))
    return problems


def model_problems(build: Build) -> list[Problem]:
    """Models that were trained on other rows than the present ones: they may have seen a forgotten record."""
    from commands.records.exposure import trained_models

    hint = "dvc repro train@{}"
    return [
        Problem(
            f"models/{step}",
            "was trained on other rows than the present ones, perhaps on forgotten ones",
            "",
            hint.format(step),
        )
        for step, model in trained_models(build, from_bytes=True).items()
        if model.state == "other"
    ]


def find_forgotten_rows(
    build: Build, entries: Sequence[Forgotten], rooms: Iterable[str], min_similarity: float | None = None
) -> tuple[list[Match], list[Problem]]:
    """(matches, problems): every row of some folders of data/ that is a forgotten record, or says the same as one."""
    from stages.reading.parts import map_items

    min_similarity = min_similarity or threshold(build)
    work: list[tuple[str, str, Path]] = []
    problems: list[Problem] = []
    for room in rooms:
        for dataset in build.datasets:
            try:
                work += [(room, dataset, path) for path in table_paths(build, room, dataset)]
            except Missing as error:
                problems += error.problems
    kinds = {name: dataset["kind"] for name, dataset in build.datasets.items()}
    search = partial(forgotten_rows_in_group, entries=entries, kinds=kinds, min_similarity=min_similarity)
    pieces = [(*item, group) for item in work for group in range(count_row_groups(item[2], problems))]
    size = sum(path.stat().st_size for *_, path in work)
    return [item for found in map_items(search, pieces, size) for item in found], problems


def table_paths(build: Build, room: str, dataset: str) -> list[Path]:
    """The Parquet files of a dataset in a folder of data/. Raises Missing."""
    if room != "ingested":
        return [file_of(build, f"data/{room}/{dataset}.parquet")]
    folder = Path("data/ingested", dataset)
    if build.rev is None and folder.is_dir():
        return sorted(folder.rglob("*.parquet"))
    if folder.as_posix() not in build.outs:
        return [file_of(build, folder)]  # raises with the right words
    return [file_of(build, path) for path in sorted(files_of(build, folder.as_posix()))]


def count_row_groups(path: Path, problems: list[Problem]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from commands.records.table import unreadable_problem

    try:
        return pq.read_metadata(path).num_row_groups
    except (pa.ArrowException, OSError) as error:
        problems.append(unreadable_problem(path, error))
        return 0


def forgotten_rows_in_group(
    piece: tuple[str, str, Path, int], entries: Sequence[Forgotten], kinds: Mapping[str, str], min_similarity: float
) -> list[Match]:
    """The matches in one row group. piece: (room, dataset, file, number of the group)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from stages.dedup.sketches import ForgottenIndex, find_forgotten

    room, dataset, path, group = piece
    file, kind = pq.ParquetFile(path), kinds[dataset]
    found: list[Match] = []
    known, ids = ForgottenIndex(entries), {entry.id: entry for entry in entries}
    first = sum(file.metadata.row_group(before).num_rows for before in range(group))
    rejects = "raw" in file.schema_arrow.names
    columns = ["id", "source", "line", *(["raw"] if rejects else row_columns(path, kind))]
    for batch in file.iter_batches(8192, row_groups=[group], columns=columns):
        table, numbers = rejects_table(batch, kind) if rejects else (pa.Table.from_batches([batch]), range(len(batch)))
        matches = {numbers[row]: why for row, why in find_forgotten(table, kind, known, min_similarity).items()}
        if rejects:
            raws = enumerate(batch["raw"].to_pylist())
            matches |= {
                row: (ids[name], "by id") for row, raw in raws if raw and (name := _forgotten.raw_id(raw)) in ids
            }
        origins = batch.select(["id", "source", "line"]).to_pylist() if matches else []
        for row, (entry, why) in sorted(matches.items()):
            found.append((Record(room, dataset, first + row, *origins[row].values()), entry, why))
        first += len(batch)
    return found


def rejects_table(batch: "pa.RecordBatch", kind: str) -> tuple["pa.Table", list[int]]:
    """(rows, their numbers in the batch) of the rejects that were rows and still have their text."""
    import pyarrow as pa

    from stages.rows.tables import COLUMNS, to_table

    rejects = batch.select(["id", "raw"]).to_pylist()
    numbers = [number for number, reject in enumerate(rejects) if reject["id"] and reject["raw"]]
    rows = [json.loads(rejects[number]["raw"]) | {"id": rejects[number]["id"]} for number in numbers]
    return to_table(rows, pa.schema(COLUMNS[kind] | {"id": pa.string()})), numbers


# -- what earlier builds left -------------------------------------------------------------------------------------


@dataclass
class OldObjects:
    """held: {path in the project: {md5}} of objects that the present build does not use. size: their bytes.

    searched, left_out, absent: tables that were searched, were too many, or are not in the cache.
    """

    held: dict[str, set[str]]
    size: int
    searched: int
    commits: int
    runs: int
    left_out: int
    absent: int


def find_old_objects(build: Build, ids: Collection[str]) -> OldObjects:
    """The objects of the cache that hold one of the ids, or were trained on such rows, and that the present build does not use.

    Searches the objects that past versions of dvc.lock and the run cache name.
    """
    stages, commits, records = past_stages()
    present = {md5 for out in build.outs.values() for md5 in [out.md5, *(hashes_of_output(out) or {}).values()]}
    files: dict[str, str] = {}
    for stage in stages:
        for out in stage.outs.values():
            for path, md5 in (hashes_of_output(out) or {}).items():
                if is_table(path):
                    files.setdefault(md5, path)
    there = [md5 for md5 in files if object_of(md5).is_file()]
    hits = {md5: files[md5] for md5 in there[:MAX_OBJECTS] if has_any_id(object_of(md5), ids)}
    hits |= models_from_rows(stages, set(hits))
    old: dict[str, set[str]] = {}
    for md5, path in hits.items():
        if md5 not in present and object_of(md5).exists():
            old.setdefault(path, set()).add(md5)
    size = sum(size_of_object(md5) for found in old.values() for md5 in found)
    return OldObjects(
        old,
        size,
        min(len(there), MAX_OBJECTS),
        commits,
        records,
        max(0, len(there) - MAX_OBJECTS),
        len(files) - len(there),
    )


def past_stages() -> tuple[list[Stage], int, int]:
    """(stages, how many commits, how many cached runs): from dvc.lock here and in earlier commits, and from the run cache."""
    stages: list[Stage] = []
    commits = (git("log", f"-{MAX_COMMITS}", "--all", "--format=%H", "--", "dvc.lock") or b"").decode().split()
    for commit in [None, *commits]:
        try:
            stages += read_lock(commit).values()
        except Problems:
            continue  # a commit whose lock does not parse, or was deleted, names no objects
    records = list(cached_runs(MAX_RUNS))
    return stages + records, len(commits), len(records)


def is_table(path: str) -> bool:
    return path.endswith(".parquet") and path.startswith(("data/", "scores/"))


def has_any_id(path: Path, ids: Collection[str]) -> bool:
    """True where a table has a row with one of the ids and its text, or a reject whose raw text hashes to one."""
    import duckdb

    database = connect()
    try:
        names = [
            row[0] for row in database.execute("DESCRIBE FROM read_parquet($path)", {"path": str(path)}).fetchall()
        ]
        where = "(id IN $ids AND raw IS NOT NULL) OR sha256(raw) IN $ids" if "raw" in names else "id IN $ids"
        query = f"SELECT 1 FROM read_parquet($path) WHERE {where} LIMIT 1"
        return "id" in names and bool(database.execute(query, {"path": str(path), "ids": list(ids)}).fetchall())
    except duckdb.Error:
        return False


def models_from_rows(stages: Iterable[Stage], rows: set[str]) -> dict[str, str]:
    """{md5: path} of the models that were trained on some tables, or started from such a model; of their curves too."""
    found: dict[str, str] = {}
    more = {"": ""}
    while more:
        more = {}
        for stage in stages:
            if stage.kind == "train" and {dep.md5 for dep in stage.deps.values()} & (rows | set(found)):
                more |= {out.md5: out.path for out in stage.outs.values() if out.md5 and out.md5 not in found}
        found |= more
    return found


def size_of_object(md5: str) -> int:
    """The bytes of an object; for a folder, of its list and all files in it."""
    names = [md5, *((folder_listing(md5) or {}).values() if md5.endswith(".dir") else ())]
    return sum(object_of(name).stat().st_size for name in names if object_of(name).is_file())
