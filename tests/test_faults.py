"""What goes wrong around a build, on real DVC: after each, a clear word, the next run completes, and the data are the same."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_share import Folder, project

pytestmark = pytest.mark.slow
SLOW = "import time\ntime.sleep(4)\nopen('began', 'a').write('x')\n"
INGEST = """
stages:
  ingest:
    cmd: python -m stages ingest chat
    params: [datasets]
    deps: [data/raw/chat]
    outs: [data/ingested/chat]
"""
ODD = ["with space.jsonl", 'it\'s "quoted".jsonl', "two\nlines.jsonl", "$(touch ran).jsonl", "-rf.jsonl", "tab\t.jsonl"]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return project(tmp_path_factory.mktemp("faults") / "project")


@pytest.fixture
def mine(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "mine", symlinks=True)
    return Folder(tmp_path / "mine")


def test_of_two_builds_at_once_one_says_who_is_ahead_and_a_stage_runs_once(mine):
    code = mine.path / "train.py"
    code.write_text(SLOW + code.read_text(), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    command = ["dvc", "repro"]
    first = subprocess.Popen(command, cwd=mine.path, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    held = mine.path / ".dvc/tmp/rwlock"
    while first.poll() is None and "models/align" not in (held.read_text() if held.exists() else ""):
        time.sleep(0.05)
    said = mine.run(*command, fails=True)
    assert "is busy" in said or "Unable to acquire lock" in said
    assert first.wait(120) == 0, first.stdout.read()
    assert (mine.path / "began").read_text() == "x"
    assert mine.repro() == []
    assert (mine.path / "scores/align.json").read_text() == "rate: 1\nraw\ncard of rate: 1\n"


def test_share_waits_for_no_build_and_says_so(mine):
    """A second command of DVC while one holds the repository: a line, no half of anything."""
    from dvc.repo import Repo

    with Repo(str(mine.path)) as repo, repo.lock:
        said = mine.tilth("share", fails=True)
    assert "Unable to acquire lock" in said
    assert not (mine.path / "../remote").exists()
    mine.tilth("share")


def test_a_clock_that_was_moved_back_hides_no_edit_and_makes_none(mine):
    raw = mine.path / "raw.txt"
    past = raw.stat().st_mtime - 10 * 365 * 86_400
    for path in (path for path in mine.path.rglob("*") if path.is_file() and ".git" not in path.parts):
        os.utime(path, (past, past))
    assert mine.repro() == []
    raw.write_text("war\n", encoding="utf-8")  # as long as it was
    os.utime(raw, (past - 1, past - 1))
    assert mine.repro() == ["train", "evaluate"]
    assert (mine.path / "models/align/weights").read_text() == "rate: 1\nwar\n"


def test_an_object_lost_from_the_cache_is_built_again_to_the_same_bytes(mine):
    before = (mine.path / "dvc.lock").read_text()
    for path in mine.objects():
        path.unlink()
    shutil.rmtree(mine.path / "models/align")
    assert "train" in mine.repro()
    assert (mine.path / "dvc.lock").read_text() == before


def test_a_build_that_is_killed_in_a_stage_is_completed_by_the_next(mine):
    before = (mine.path / "scores/align.json").read_text()
    code = mine.path / "train.py"
    kept = code.read_text()
    code.write_text(kept + "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n", encoding="utf-8")
    mine.run("dvc", "repro", fails=True)
    code.write_text(kept, encoding="utf-8")
    mine.repro()
    assert (mine.path / "scores/align.json").read_text() == before
    assert mine.repro() == []
    mine.tilth("share")


def test_names_of_raw_files_are_data_with_spaces_quotes_and_newlines(tmp_path):
    mine = Folder(tmp_path / "mine")
    (mine.path / "data/raw/chat").mkdir(parents=True)
    (mine.path / "data/forgotten.jsonl").write_text("")
    (mine.path / "dvc.yaml").write_text(INGEST, encoding="utf-8")
    (mine.path / "params.yaml").write_text("datasets: {chat: {kind: sft, raw: data/raw/chat, max_reject_share: 0}}\n")
    for number, name in enumerate(ODD):
        row = json.dumps({"instruction": f"q{number}", "output": "a"}) + "\n"
        (mine.path / "data/raw/chat" / name).write_text(row, encoding="utf-8")
    mine.run("git", "init", "-q")
    mine.run("dvc", "init", "-q")
    said = mine.run("dvc", "repro")
    assert f"{len(ODD)} in = {len(ODD)} rows" in said
    assert "two\nlines" not in said
    rows = pq.read_table(mine.path / "data/ingested/chat/rows").to_pylist()
    assert sorted(row["source"] for row in rows) == sorted(f"data/raw/chat/{name}" for name in ODD)
    assert not (mine.path / "ran").exists()
    assert mine.repro() == []
    mine.run("dvc", "remote", "add", "--default", "team", "../remote")
    mine.commit()
    mine.tilth("share")
    yours = mine.clone(tmp_path / "yours")
    yours.tilth("fetch")
    assert yours.repro() == []
