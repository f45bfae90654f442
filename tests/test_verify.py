"""Each way to break a build, on a copy of a small one that was really built, and that is whole again for each test."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from builds import to_break

from commands import verify
from commands.builds import build as _build
from commands.checks.conservation import REBUILD_HINT
from stages.core.hashes import folder_md5, md5
from stages.rows.tables import to_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(built, tmp_path_factory):
    return built.copy(tmp_path_factory.mktemp("verify") / "p")


@pytest.fixture
def project(built, copy, monkeypatch):
    """A built project to break: what a test changes is put back after it."""
    with to_break(built, copy, monkeypatch):
        yield copy


def breaks(capsys, **options):
    """{check: {where: the whole problem}} of `tilth verify --json`, checks that hold left out."""
    capsys.readouterr()
    try:
        verify.main(**{"rev": None, "sample": 0, "cache": False, "allow_dirty": True, "as_json": True} | options)
        code = 0
    except typer.Exit as error:
        code = error.exit_code
    found = {}
    for problem in json.loads(capsys.readouterr().out)["broken"]:
        found.setdefault(problem["check"], {})[problem["where"]] = problem
    assert code == (1 if found else 0)
    return found


def edit(path, old, new):
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    os.chmod(path, 0o644)  # objects of the cache are read-only
    Path(path).write_bytes(data)


def reseal(path, table):
    """Write a table over an output, and its new hash into dvc.lock wherever the old one stands."""
    before, size = md5(path), os.path.getsize(path)
    pq.write_table(table, path)
    edit("dvc.lock", before, md5(path))
    edit("dvc.lock", f"size: {size}\n", f"size: {os.path.getsize(path)}\n")


def entry(stage, key, path):
    return getattr(_build.read_build().stages[stage], key)[path]


# -- what holds ---------------------------------------------------------------------------------------------------


def test_an_untouched_build_passes_and_says_what_was_verified(project):
    said = project.run(sys.executable, "-m", "commands", "verify", "--cache").splitlines()
    assert [line.split()[0] for line in said] == [
        "outputs",
        "cache",
        "lock",
        "code",
        "records",
        "rows",
        "pinned",
        "models",
        "forgotten",
        "raw",
        "tree",
    ]
    assert "27 stages match dvc.yaml and params.yaml" in said[2]
    assert "2 models" in said[7]


def test_a_past_commit_is_verified_while_the_working_tree_is_broken(project, capsys):
    flip("data/train/chat.parquet")
    edit("params.yaml", "seed: 7", "seed: 8")
    before = sorted(path for path in Path().rglob("*") if ".git/" not in str(path))
    assert breaks(capsys, rev="HEAD") == {}
    assert sorted(path for path in Path().rglob("*") if ".git/" not in str(path)) == before


def test_a_project_in_a_folder_of_a_repository_is_verified(built, tmp_path, capsys, monkeypatch):
    inside = tmp_path / "repository/inside"
    project = built.copy(inside)
    shutil.rmtree(inside / ".git")
    monkeypatch.chdir(inside)
    _build.cache_folder.cache_clear()
    around = type(project)(inside.parent)
    around.run("git", "init", "-q")
    around.commit()
    assert breaks(capsys, allow_dirty=False) == breaks(capsys, rev="HEAD") == {}


def test_it_needs_no_torch(project):
    code = "import sys; from commands import verify; verify.main(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# -- bytes --------------------------------------------------------------------------------------------------------


FILES = [
    "data/ingested/chat/rejects.parquet",
    "data/validated/pairs.parquet",
    "data/train/chat.parquet",
    "data/eval.json",
    "preflight/sft.json",
    "models/base/tokenizer.json",
    "models/sft/model.safetensors",
    "scores/sft.parquet",
    "scores/sft.json",
    "scores/sft.csv",
    "report/report.md",
    ".build/params/report.json",
]


def test_files_changed_by_one_bit_each_are_named_and_no_others(project, capsys):
    for path in FILES:
        flip(path)
    found = breaks(capsys)
    assert sorted(found["outputs"]) == sorted(map(named, FILES))
    assert "dvc.lock: .build/params/report.json" in found["lock"]


def named(path):
    """How `outputs` names a file: by its folder, where git keeps it and the cache has no list of its files."""
    return ".build/params" if path.startswith(".build/") else path


@pytest.mark.long
@pytest.mark.parametrize("path", FILES)
def test_a_file_changed_by_one_bit_is_named(project, capsys, path):
    flip(path)
    assert list(breaks(capsys)["outputs"]) == [named(path)]


def test_a_missing_file_a_missing_output_and_an_extra_file_are_named(project, capsys):
    Path("models/sft/config.json").unlink()
    Path("scores/align.json").unlink()
    shutil.rmtree("models/base")
    Path("models/align/notes.partial").write_text("ignored by DVC, but there", encoding="utf-8")
    Path("data/train/old.parquet").write_text("of no dataset", encoding="utf-8")
    found = {where: problem["found"] for where, problem in breaks(capsys)["outputs"].items()}
    assert found == {
        "models/sft/config.json": "is missing",
        "scores/align.json": "is missing",
        "models/base": "is missing",
        "models/align/notes.partial": "no stage built it",
        "data/train/old.parquet": "no stage built it",
    }


def test_a_flipped_object_of_the_cache_is_found_when_asked(project, capsys):
    place = _build.object_of(entry("curate@chat", "outs", "data/train/chat.parquet").md5)
    flip(place)
    assert breaks(capsys) == {}
    found = breaks(capsys, cache=True)
    assert list(found) == ["cache"]
    assert str(place) in found["cache"]["cache of data/train/chat.parquet"]["found"]


def test_a_flipped_object_breaks_a_past_commit_and_a_lost_one_is_said_to_be_not_verified(project, capsys):
    flip(_build.object_of(entry("evaluate@sft", "outs", "scores/sft.parquet").md5))
    _build.object_of(entry("curate@chat", "outs", "data/train/chat.parquet").md5).unlink()
    assert list(breaks(capsys, rev="HEAD")["outputs"]) == ["scores/sft.parquet"]
    with pytest.raises(_build.Problems):
        verify.main(rev="HEAD")
    assert "not verified: data/train/chat.parquet" in capsys.readouterr().out


def test_a_table_that_cannot_be_read_is_a_break_and_the_rest_is_still_verified(project, capsys):
    data = bytearray(Path("data/rejected/problems.parquet").read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
    Path("data/rejected/problems.parquet").write_bytes(data)
    found = breaks(capsys)
    assert list(found["outputs"]) == ["data/rejected/problems.parquet"]
    assert "cannot be" in next(iter(found["records"].values()))["found"]
    assert "models" not in found and "lock" not in found


# -- models -------------------------------------------------------------------------------------------------------


def swap(one, other):
    for source, target in ((one, "aside"), (other, one), ("aside", other)):
        os.rename(source, target)


def test_swapped_models_are_named(project, capsys):
    swap("models/sft", "models/align")
    found = breaks(capsys)
    assert {"models/sft/model.safetensors", "models/align/model.safetensors"} <= found["outputs"].keys()
    assert {"models/sft/made_of.json: step", "models/align/made_of.json: dataset"} <= found["models"].keys()


def test_swapped_models_whose_hashes_are_swapped_in_the_lock_are_named(project, capsys):
    swap("models/sft", "models/align")
    one, other = (entry(f"train@{name}", "outs", f"models/{name}") for name in ("sft", "align"))
    for key in ("md5", "size"):
        old, new = f"{key}: {getattr(one, key)}\n", f"{key}: {getattr(other, key)}\n"
        if old != new:
            for a, b in ((old, "aside\n"), (new, old), ("aside\n", new)):
                edit("dvc.lock", a, b)
    found = breaks(capsys)
    assert "outputs" not in found
    assert "models/sft/made_of.json: step" in found["models"]


def test_a_model_of_other_rows_is_named(project, capsys):
    rows = pq.read_table("data/train/chat.parquet")
    reseal("data/train/chat.parquet", rows.slice(1))
    found = breaks(capsys)
    assert "models/sft/made_of.json: rows_sha256" in found["models"]
    assert "data/train.json: chat.sha256" in found["models"]
    assert "dvc.lock: data/train" in found["lock"]


# -- rows ---------------------------------------------------------------------------------------------------------


def test_an_edited_row_is_named_though_the_lock_was_edited_to_match(project, capsys):
    table = pq.read_table("data/eval/problems.parquet")
    first = table.slice(0, 1).to_pylist()[0]
    rows = table.to_pylist()
    rows[0]["ground_truth"] = "other"
    reseal("data/eval/problems.parquet", to_table(rows, table.schema))
    found = breaks(capsys)
    assert "outputs" not in found
    place = f"data/eval/problems.parquet: row {first['id'][:12]} ({first['source']}:{first['line']})"
    assert "its content has the id" in found["rows"][place]["found"]


def test_a_row_moved_from_eval_to_train_is_named(project, capsys):
    train, held_out = (pq.read_table(f"data/{side}/pairs.parquet") for side in ("train", "eval"))
    moved = held_out.slice(0, 1)
    reseal("data/train/pairs.parquet", pa.concat_tables([train, moved]))
    reseal("data/eval/pairs.parquet", held_out.slice(1))
    found = breaks(capsys)
    assert "outputs" not in found and "records" not in found
    problem = next(iter(found["rows"].values()))
    assert moved["id"][0].as_py()[:12] in problem["where"]
    assert problem["found"] == "is in train" and problem["expected"].startswith("eval")


def test_a_row_that_is_there_twice_is_named(project, capsys):
    rows = pq.read_table("data/train/chat.parquet")
    reseal("data/train/chat.parquet", pa.concat_tables([rows, rows.slice(3, 1)]))
    found = breaks(capsys)["records"]
    id = rows["id"][3].as_py()[:12]
    assert found[f"datasets.chat: row {id}"]["found"].startswith("2 times in train and eval")
    assert any("1 from ingest, 2 after it" in problem["found"] for problem in found.values())


def rejected_by(stage):
    """(dataset, its table of rejects, the place of one by a stage)."""
    tables = {path.stem: pq.read_table(path) for path in sorted(Path("data/rejected").glob("*.parquet"))}
    return next(
        (name, table, table["stage"].to_pylist().index(stage))
        for name, table in tables.items()
        if stage in table["stage"].to_pylist()
    )


@pytest.mark.parametrize("stage", ["validate", "curate"])
def test_a_removed_reject_is_named(project, capsys, stage):
    name, table, at = rejected_by(stage)
    gone = table.slice(at, 1).to_pylist()[0]
    reseal(f"data/rejected/{name}.parquet", pa.concat_tables([table.slice(0, at), table.slice(at + 1)]))
    found = breaks(capsys)["records"]
    where = f"datasets.{name}: {gone['source']}:{gone['line']}"
    assert found.pop(where)["found"] in (
        f"row {gone['id'][:12]}: 1 from ingest, 0 after it",
        f"a reject by {gone['check']} is not in data/rejected",
    )
    assert "does not add up" in found[f"datasets.{name}"]["found"]


def test_a_reject_by_a_check_that_no_stage_has_is_named(project, capsys):
    name, table, at = rejected_by("validate")
    check = table["check"][at].as_py()
    for room in ("validated", "rejected"):
        table = pq.read_table(f"data/{room}/{name}.parquet")
        rows = [row | {"check": row["check"].replace(check, "no.check")} for row in table.to_pylist()]
        reseal(f"data/{room}/{name}.parquet", to_table(rows, table.schema))
    assert breaks(capsys)["records"] == {
        f"datasets.{name}": {
            "check": "records",
            "where": f"datasets.{name}",
            "found": "1 rejected by no.check",
            "expected": "a check of validate in docs/checks.md",
            "hint": REBUILD_HINT,
        }
    }


def test_a_score_of_no_eval_row_is_named(project, capsys):
    table = pq.read_table("scores/sft.parquet")
    rows = table.to_pylist()
    rows[0]["id"] = "0" * 64
    reseal("scores/sft.parquet", pa.Table.from_pylist(rows, schema=table.schema))
    assert (
        breaks(capsys)["models"][f"scores/sft.parquet: {rows[0]['dataset']}"]["found"] == "a score of row 000000000000"
    )


def test_a_sample_says_how_many_ids_it_made(project, capsys):
    verify.main(sample=10, allow_dirty=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("rows"))
    checked, total = (int(word.replace(",", "")) for word in (line.split()[1], line.split()[3]))
    assert 0 < checked < total


# -- the lock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "key", "path", "said"),
    [
        ("train@sft", "deps", "data/train/chat.parquet", "what curate@chat made"),
        ("train@sft", "deps", ".build/code/train", "the list of the code as it is"),
        ("train@align", "deps", "preflight/align.json", "its bytes now"),
        ("collect_scores", "deps", "scores", "the list of what stages made there"),
        ("ingest@chat", "deps", "data/raw/chat", "its files now"),
    ],
)
def test_a_hand_edited_dependency_is_named(project, capsys, stage, key, path, said):
    head, _, tail = Path("dvc.lock").read_text(encoding="utf-8").partition(f"\n  {stage}:\n")
    wanted = entry(stage, key, path).md5
    tail = tail.replace(wanted, "f" * 32, 1)
    Path("dvc.lock").write_text(f"{head}\n  {stage}:\n{tail}", encoding="utf-8")
    found = breaks(capsys)
    assert list(found) == ["lock"]
    problem = found["lock"][f"dvc.lock: {path}"]
    assert problem["found"].startswith(f"{stage} ran on ffff")
    assert problem["expected"] == f"{wanted}, {said}"


def test_a_hand_edited_output_is_named_by_its_bytes_and_by_who_depends_on_it(project, capsys):
    head, _, tail = Path("dvc.lock").read_text(encoding="utf-8").partition("\n  train@sft:\n")
    was = entry("train@sft", "outs", "models/sft").md5
    Path("dvc.lock").write_text(f"{head}\n  train@sft:\n{tail.replace(was, '0' * 32 + '.dir', 1)}", encoding="utf-8")
    found = breaks(capsys)
    assert found["outputs"]["models/sft"]["expected"] == "0" * 32 + ".dir"
    assert "train@align, evaluate@sft ran on" in found["lock"]["dvc.lock: models/sft"]["found"]


def test_a_hand_edited_parameter_is_named(project, capsys):
    before = folder_md5(below(".build/params"))
    for path in sorted(Path(".build/params/curate").iterdir()):  # and sealed, as if the build had been made so
        was = md5(path)
        edit(path, '"ngram_words": 13', '"ngram_words": 12')
        edit("dvc.lock", was, md5(path))
    edit("dvc.lock", before, folder_md5(below(".build/params")))
    found = breaks(capsys)
    assert list(found) == ["lock"]
    problem = found["lock"]["dvc.lock: params: curate.ngram_words"]
    assert problem["found"] == "check, curate@chat, curate@pairs, curate@feedback, curate@problems ran with 12"
    assert problem["expected"] == "13, as in params.yaml"


def below(folder):
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): md5(path) for path in paths}


def test_an_edit_of_params_is_named_with_the_stages_that_it_reaches(project, capsys):
    edit("params.yaml", "seed: 7", "seed: 8")
    found = breaks(capsys)["lock"]
    assert found["dvc.lock: params: seed"]["expected"] == "8, as in params.yaml"
    assert found["dvc.lock: params: seed"]["found"].endswith("ran with 7")
    assert found["dvc.lock: params.yaml"]["found"].startswith("check ran on ")


def test_a_stage_that_the_lock_lacks_and_one_too_many_are_named(project, capsys):
    edit("dvc.lock", "\n  train@align:\n", "\n  train@other:\n")
    found = breaks(capsys)["lock"]
    assert {"dvc.lock: train@align", "dvc.lock: other"} <= found.keys()
    assert found["dvc.lock: other"]["hint"].startswith("tilth prune")


def test_another_command_and_a_dependency_left_out_are_named(project, capsys):
    edit("dvc.lock", "python -m stages collect", "python -m stages  collect")
    edit("dvc.yaml", "      - .build/code/collect\n", "")
    found = breaks(capsys)["lock"]
    assert {"dvc.lock: collect: cmd", "dvc.lock: collect: deps: .build/code/collect"} <= found.keys()


def test_a_graph_that_does_not_resolve_is_an_error_in_one_piece(project):
    edit("dvc.yaml", "${item.kind}", "${item.kin}")
    said = project.run(sys.executable, "-m", "commands", "verify", fails=True)
    assert "dvc.yaml: does not resolve" in said and "Traceback" not in said


# -- raw files and git --------------------------------------------------------------------------------------------


def test_a_raw_file_edited_after_the_build_is_named_though_its_size_and_time_are_as_before(project, capsys):
    path = Path("data/raw/pairs/pairs.jsonl")
    times = os.stat(path).st_mtime_ns
    flip(path)
    os.utime(path, ns=(times, times))
    found = breaks(capsys)
    assert found["raw"][str(path)]["found"] == "differs from what is committed"
    assert found["lock"]["dvc.lock: data/raw/pairs"]["expected"].endswith("its files now")


def test_a_raw_record_that_no_row_is_made_of_is_named(project, capsys):
    with open("data/raw/pairs/pairs.jsonl", "a", encoding="utf-8") as file:
        file.write('{"chosen": "a"}\n')
    count = len(Path("data/raw/pairs/pairs.jsonl").read_text(encoding="utf-8").splitlines())
    found = breaks(capsys)["records"]
    assert found[f"datasets.pairs: data/raw/pairs/pairs.jsonl:{count}"]["found"].startswith("no row and no reject")


def test_raw_data_that_nobody_keeps_and_links_out_of_the_project_are_named(project, capsys, tmp_path):
    (tmp_path / "outside.jsonl").write_text("{}\n", encoding="utf-8")
    Path("data/raw/chat/link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    Path("data/raw/chat/new.jsonl").write_text("{}\n", encoding="utf-8")
    found = breaks(capsys)["raw"]
    assert found["data/raw/chat/new.jsonl"]["found"] == "neither git nor DVC keeps it"
    capsys.readouterr()
    with pytest.raises(_build.Problems, match="a link that leaves the project"):
        verify.main(allow_dirty=True)


def test_raw_files_are_held_against_git_whatever_is_in_their_names(project, capsys):
    for name in ("two\nlines", '"quoted', "back\\slash", "tab\t and space", "-rf"):
        Path("data/raw", name).write_text(name, encoding="utf-8")
    project.commit()
    assert breaks(capsys, allow_dirty=False) == {}
    Path("data/raw/two\nlines").write_text("other", encoding="utf-8")
    assert list(breaks(capsys)["raw"]) == ["data/raw/two\nlines"]


def test_raw_data_of_dvc_is_held_against_its_dvc_file(project, capsys):
    project.run("git", "rm", "-qr", "--cached", "data/raw/pairs")
    listing = {"pairs.jsonl": md5("data/raw/pairs/pairs.jsonl")}
    Path("data/raw/pairs.dvc").write_text(f"outs:\n- md5: {folder_md5(listing)}\n  path: pairs\n", encoding="utf-8")
    Path("data/raw/.gitignore").write_text("/pairs\n", encoding="utf-8")
    project.commit()
    assert breaks(capsys, allow_dirty=False) == {}
    flip("data/raw/pairs/pairs.jsonl")
    assert "its files hash to" in breaks(capsys)["raw"]["data/raw/pairs"]["found"]


def test_uncommitted_files_are_named_unless_they_are_allowed(project, capsys):
    Path("README.md").write_text("other", encoding="utf-8")
    Path("commands/mine.py").write_text("", encoding="utf-8")
    Path("notes.txt").write_text("harms nothing", encoding="utf-8")
    project.run("git", "rm", "-q", "--cached", "dvc.lock")
    project.run("git", "commit", "-qm", "no lock")
    assert breaks(capsys) == {}
    assert list(breaks(capsys, allow_dirty=False)["tree"]) == ["README.md", "commands/mine.py", "dvc.lock"]


def test_a_list_of_code_that_was_edited_by_hand_or_left_out_is_named(project, capsys):
    first, other = Path(".build/code/curate"), Path(".build/code/kinds/sft")
    first.write_text(first.read_text(encoding="utf-8").replace("stages/curate.py", "stages/cured.py"), encoding="utf-8")
    other.unlink()
    found = breaks(capsys)["code"]
    assert list(found) == [".build/code/curate", ".build/code/kinds/sft"]
    assert (
        found[".build/code/curate"]["found"]
        == "does not match the code here: stages/curate.py is new, stages/cured.py is no longer needed"
    )
    assert found[".build/code/kinds/sft"]["found"] == "is missing"


def test_a_list_of_code_that_git_does_not_have_is_named(project, capsys):
    project.run("git", "rm", "-q", "--cached", ".build/code/curate")
    project.run("git", "commit", "-qm", "one list less")
    assert breaks(capsys) == {}
    assert list(breaks(capsys, allow_dirty=False)["tree"]) == [".build/code/curate"]


def test_without_git_the_rest_is_verified(project, capsys, monkeypatch):
    shutil.rmtree(".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.folder.parent))
    found = breaks(capsys, allow_dirty=False)
    assert found.keys() == {"raw", "tree"}
    assert list(found["tree"]) == ["git"]


def test_a_name_with_an_escape_code_is_printed_safely(project):
    Path("models/sft/\x1b[2Jgone").touch()
    said = project.run(sys.executable, "-m", "commands", "verify", fails=True)
    assert "\\x1b[2Jgone" in said and "\x1b" not in said
