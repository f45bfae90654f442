"""Raw data that DVC keeps: added, or imported from servers on the loopback address that speak HTTP and S3."""

import hashlib
import http.server
import json
import shutil
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import small_project
from test_remotes import SECRET, s3, servers

pytestmark = pytest.mark.slow
ROW = '{"instruction": "Say again.", "output": "again"}\n'
NAMES = {"added": "data/raw/added", "web": "data/raw/web.jsonl", "bucket": "data/raw/bucket/bucket.jsonl"}
LONG_BUCKET = pytest.param("bucket", marks=pytest.mark.long)


def rows(name):
    return "".join(json.dumps({"instruction": f"Say {name} {i}.", "output": f"{name} {i}"}) + "\n" for i in range(30))


class Tagged(http.server.SimpleHTTPRequestHandler):
    """Files with an ETag, by which DVC knows a source again."""

    def end_headers(self):
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", hashlib.md5(path.read_bytes()).hexdigest())
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """{name: a function that puts a text at the source}, and the addresses by name."""
    import boto3

    folder = tmp_path_factory.mktemp("sources")
    (folder / "www").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Tagged(*a, directory=str(folder / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with servers() as start:
        _, settings, local = s3(folder, start)
        keys = {f"aws_{name}": value for name, value in local.items()}
        bucket = boto3.client("s3", endpoint_url=settings["endpointurl"], region_name="us-east-1", **keys)
        put = {
            "web": lambda text: (folder / "www/web.jsonl").write_text(text, encoding="utf-8"),
            "bucket": lambda text: bucket.put_object(Bucket="tilth", Key="raw/bucket.jsonl", Body=text.encode()),
        }
        for name, place in put.items():
            place(rows(name))
        yield put, f"http://127.0.0.1:{server.server_port}/web.jsonl", settings | local
    server.shutdown()


@pytest.fixture(scope="module")
def once(sources, tmp_path_factory):
    """The small project with three more datasets, each kept by DVC in its way; these are ingested, and committed."""
    folder = tmp_path_factory.mktemp("kept") / "project"
    folder.mkdir()
    project = small_project(folder)
    project.run("dvc", "remote", "add", "source", "s3://tilth/raw")
    for path, keys in (("config", ("endpointurl", "region")), ("config.local", ("access_key_id", "secret_access_key"))):
        lines = ["['remote \"source\"']", *(f"{key} = {sources[2][key]}" for key in keys)]
        with open(project.folder / ".dvc" / path, "a", encoding="utf-8") as file:
            file.write("\n".join(lines[path == "config" :]) + "\n")
    (project.folder / NAMES["added"]).mkdir()
    (project.folder / NAMES["added"] / "a.jsonl").write_text(rows("added"), encoding="utf-8")
    (project.folder / "data/raw/bucket").mkdir()
    project.run("dvc", "add", NAMES["added"])
    project.run("dvc", "import-url", sources[1], NAMES["web"])
    project.run("dvc", "import-url", "remote://source/bucket.jsonl", NAMES["bucket"])
    params = project.read_params()
    params["datasets"] |= {name: {"kind": "sft", "raw": path} for name, path in NAMES.items()}
    params["datasets"]["bucket"]["raw"] = "data/raw/bucket"  # a folder in which DVC keeps a file
    project.write_params(params)
    assert ingest(project) == {"check", "code", *(f"ingest@{name}" for name in NAMES)}
    project.commit()
    return project


@pytest.fixture
def project(once, tmp_path):
    return once.copy(tmp_path / "p")


def ingest(project):
    return project.repro(*(f"ingest@{name}" for name in NAMES))


def tilth(project, *arguments, fails=False):
    return project.run(sys.executable, "-m", "commands", *arguments, fails=fails)


def verified(project):
    """(counts of raw files, {where: problem} of what is wrong with them)."""
    command = [sys.executable, "-m", "commands", "verify", "--json", "--allow-dirty"]
    said = json.loads(project.start(*command).stdout)
    return said["verified"]["raw"], {item["where"]: item for item in said["broken"] if item["check"] == "raw"}


def file_of(project, name):
    path = project.folder / NAMES[name]
    return path / "a.jsonl" if path.is_dir() else path


def spoil(project, name):
    file = file_of(project, name)
    text = file.read_text(encoding="utf-8") + ROW
    file.unlink()  # it may be a link to the cache
    file.write_text(text, encoding="utf-8")


def test_check_verify_and_lineage_know_data_that_were_added_and_imported(project, sources):
    assert "params.yaml is valid" in tilth(project, "check", "--upstream")
    counts, wrong = verified(project)
    assert counts["by_dvc"] == 3 and wrong == {}
    found = json.loads(tilth(project, "lineage", "--json"))["datasets"]
    kept = {name: [(file["dvc"], file["imported"]) for file in found[name]["raw"]["files"]] for name in NAMES}
    assert kept == {
        "added": [("data/raw/added.dvc", None)],
        "web": [("data/raw/web.jsonl.dvc", sources[1])],
        "bucket": [("data/raw/bucket/bucket.jsonl.dvc", "remote://source/bucket.jsonl")],
    }
    told = tilth(project, "lineage", "web").replace("\n", " ")
    assert "imported from" in told
    assert SECRET not in project.run("git", "log", "-p", "--all", "--", ".dvc", "data", "dvc.lock")


@pytest.mark.parametrize("name", ["added", "web", LONG_BUCKET])
def test_a_file_that_changed_is_named_and_no_build_takes_it_in(project, name):
    spoil(project, name)
    said = tilth(project, "check", fails=True)
    assert f"{NAMES[name]}: changed since DVC recorded it" in said
    assert ("dvc add" if name == "added" else "dvc update") in said
    assert any(where.startswith(NAMES[name]) for where in verified(project)[1])
    taken_in = f"{NAMES[name]}.dvc: its data changed since this file was added to git"
    assert taken_in in project.run("dvc", "repro", f"ingest@{name}", fails=True)
    project.run("git", "checkout", f"{NAMES[name]}.dvc")
    project.run("dvc", "checkout", f"{NAMES[name]}.dvc")
    assert ingest(project) == set()


def test_a_change_that_dvc_took_down_stops_every_build_until_somebody_accepts_it(project):
    spoil(project, "added")
    assert "changed since DVC recorded it; tilth check says what to do" in tilth(project, "plan")
    for _ in range(2):  # the first has DVC rewrite the .dvc file
        project.run("dvc", "repro", "ingest@added", fails=True)
    assert "data/raw/added.dvc: its data changed since this file was added to git" in tilth(
        project, "check", fails=True
    )
    project.run("git", "add", "data/raw/added.dvc")
    assert ingest(project) == {"ingest@added"}
    table = pq.read_table(project.folder / "data/ingested/added/rows/00000.parquet")
    assert len(table) == 31


def test_what_check_says_brings_the_data_back(project):
    spoil(project, "web")
    hint = tilth(project, "check", fails=True).split("hint: ")[1].split(" undoes it")[0]
    project.run(*hint.split())
    assert "params.yaml is valid" in tilth(project, "check")


@pytest.mark.parametrize("name", ["web", LONG_BUCKET])
def test_a_source_that_moved_on_is_told_when_asked_and_taken_by_update(project, sources, name):
    file = f"{NAMES[name]}.dvc"
    sources[0][name](rows(name) + ROW)
    try:
        assert "has changed: dvc update" not in tilth(project, "check")
        assert f"has changed: dvc update {file} takes the new data" in tilth(project, "check", "--upstream")
        assert ingest(project) == set()
        project.run("dvc", "update", file)
    finally:
        sources[0][name](rows(name))
    project.run("git", "add", file)
    assert ingest(project) == {f"ingest@{name}"}
    assert len(pq.read_table(project.folder / f"data/ingested/{name}/rows/00000.parquet")) == 31


def test_a_source_that_does_not_answer_is_told_and_stops_nothing(project):
    (project.folder / ".dvc/config.local").unlink()
    said = tilth(project, "check", "--upstream")
    assert "remote://source/bucket.jsonl could not be checked" in said
    assert SECRET not in said and "params.yaml is valid" in said


@pytest.mark.parametrize("there", ["web.jsonl", "127.0.0.1"])
def test_a_web_source_that_is_gone_or_whose_server_is_down_is_not_told_as_another(project, sources, there):
    elsewhere = (
        sources[1].replace("web.jsonl", "gone.jsonl") if there == "web.jsonl" else "http://127.0.0.1:9/web.jsonl"
    )
    project.edit(f"{NAMES['web']}.dvc", sources[1], elsewhere)
    project.commit()
    said = tilth(project, "check", "--upstream")
    assert f"its source {elsewhere} is gone, or its server does not answer" in said
    assert "has changed: dvc update" not in said and "params.yaml is valid" in said


def test_a_change_back_to_bytes_that_were_accepted_once_is_told_by_check_and_verify(project):
    """No stage runs, as the run cache has what `ingest` made of them, so that no build can say it."""
    spoil(project, "added")
    project.run("dvc", "add", NAMES["added"])
    project.run("git", "add", f"{NAMES['added']}.dvc")
    assert ingest(project) == {"ingest@added"}
    project.run("git", "reset", "-q", "--hard")
    project.run("dvc", "checkout", f"{NAMES['added']}.dvc")
    assert ingest(project) == set()
    spoil(project, "added")
    assert "changed since DVC recorded it" in tilth(project, "check", fails=True)
    assert ingest(project) == set()
    assert "its data changed since this file was added to git" in tilth(project, "check", fails=True)
    assert f"{NAMES['added']}.dvc" in project.run("git", "status", "--short")
    assert f"{NAMES['added']}.dvc: differs from what is committed" in tilth(project, "verify", fails=True)


def test_data_that_are_not_here_are_pulled(project, tmp_path):
    project.run("dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"))
    project.run("dvc", "push", "-r", "team", NAMES["bucket"], NAMES["web"])
    for path in (NAMES["bucket"], NAMES["web"]):
        (project.folder / path).unlink()
    shutil.rmtree(project.folder / ".dvc/cache/files")
    said = tilth(project, "check", fails=True)
    assert "'data/raw/web.jsonl' does not exist" in said and "hint: dvc pull data/raw/web.jsonl.dvc" in said
    assert f"{NAMES['bucket']}: is missing" in said
    project.run("dvc", "pull", "-r", "team", f"{NAMES['bucket']}.dvc", f"{NAMES['web']}.dvc")
    assert "params.yaml is valid" in tilth(project, "check")
