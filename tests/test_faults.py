"""What goes wrong around a build, on real DVC: after each, a clear word, the next run completes, and the data are the same.

First on a graph of three small stages, then on the project's own. Kills, disks and remotes have files of their own.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builds import write_params
from test_share import Folder, project
from undisturbed import holds, never_built, outputs_of, tilth

pytestmark = pytest.mark.slow
SLOW = "import time\ntime.sleep(4)\nopen('began', 'a').write('x')\n"
INGEST = """
stages:
  ingest:
    cmd: python -m stages ingest chat
    deps: [data/raw/chat, .build/params/ingest/chat.json]
    outs: [data/ingested/chat]
"""
ODD = ["with space.jsonl", 'it\'s "quoted".jsonl', "two\nlines.jsonl", "$(touch ran).jsonl", "-rf.jsonl", "tab\t.jsonl"]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return project(tmp_path_factory.mktemp("faults") / "project", real=True)


@pytest.fixture
def mine(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "mine", symlinks=True)
    return Folder(tmp_path / "mine", real=True)


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
    mine = Folder(tmp_path / "mine", real=True)
    (mine.path / "data/raw/chat").mkdir(parents=True)
    (mine.path / "data/forgotten.jsonl").write_text("")
    (mine.path / "dvc.yaml").write_text(INGEST, encoding="utf-8")
    write_params("datasets: {chat: {kind: sft, raw: data/raw/chat, max_reject_share: 0}}", mine.path)
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


# -- the project's own graph ----------------------------------------------------------------------------------------


@pytest.fixture
def whole(built, tmp_path):
    return built.copy(tmp_path / "whole", real=True)


def test_two_builds_of_the_project_at_once_leave_what_one_would(whole):
    expected = outputs_of(whole.folder)
    for stage in ("ingest@chat", "curate@chat"):
        never_built(whole.folder, stage)
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda _: whole.run("dvc", "repro", fails=None), range(2)))
    failed = [said for said in told if "ERROR: " in said]
    assert len(failed) < 2
    assert all("is busy" in said or "Unable to acquire lock" in said for said in failed), failed
    holds(whole, expected)


def test_files_that_a_killed_dvc_has_torn_are_named_and_mended_and_nothing_is_built_again(whole):
    expected, lock = outputs_of(whole.folder), whole.folder / "dvc.lock"
    text = lock.read_text(encoding="utf-8")
    # in the middle of a key: what ends at the end of a value is a lock, if a shorter one
    lock.write_text(text[: text.index("hash: md5", 5_000) + 2], encoding="utf-8")
    assert "dvc.lock" in whole.run("dvc", "repro", fails=True)
    assert "dvc.lock was half written by a dvc that was killed: restored" in tilth(whole, "check")
    (whole.folder / ".dvc/tmp/rwlock").write_text('{"write": {"a": {"pid": 1', encoding="utf-8")
    assert "rwlock" in whole.run("dvc", "repro", fails=True)
    assert "rwlock was half written by a dvc that was killed: removed" in tilth(whole, "check")
    assert holds(whole, expected) == set()


def test_files_of_the_future_and_edits_of_the_past_are_taken_by_their_bytes(whole):
    """So the files of a project are after its machine's clock was moved back."""
    expected, future = outputs_of(whole.folder), time.time() + 10 * 365 * 86_400
    for path in (path for path in whole.folder.rglob("*") if path.is_file() and ".git" not in path.parts):
        os.utime(path, (future, future))
    raw = whole.folder / "data/raw/feedback/feedback.jsonl"
    before = raw.read_bytes()
    raw.write_bytes(before[::-1])
    assert "ingest@feedback" in whole.run("dvc", "status")
    raw.write_bytes(before)
    os.utime(raw, (1, 1))
    assert holds(whole, expected) == set()


@pytest.mark.skipif(not shutil.which("faketime"), reason="no faketime here (Debian: apt-get install faketime)")
def test_a_build_while_the_clock_is_set_back_makes_the_same_bytes(whole):
    expected, stages = outputs_of(whole.folder), ("curate@pairs", "preflight", "train@align")
    for stage in stages:
        never_built(whole.folder, stage)
    back = ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", "-400d"]
    said = whole.run(*back, "dvc", "repro")
    assert all(f"Running stage '{stage}'" in said for stage in stages)
    assert holds(whole, expected) == set()


def ids_of(folder):
    """The ids of every dataset, by side."""
    return {
        path.relative_to(folder).as_posix(): set(pq.read_table(path)["id"].to_pylist())
        for side in ("train", "eval")
        for path in sorted((folder / "data" / side).glob("*.parquet"))
    }


@pytest.mark.long
def test_a_project_whose_raw_files_have_odd_names_is_built_and_verified_as_one_with_plain_names(whole):
    expected, ids = outputs_of(whole.folder), ids_of(whole.folder)
    for path in sorted((whole.folder / "data/raw").glob("*/*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines(True)
        path.unlink()
        for number, name in enumerate(ODD):
            (path.parent / name).write_text("".join(lines[number :: len(ODD)]), encoding="utf-8")
    whole.repro()
    assert ids_of(whole.folder) == ids
    assert not (whole.folder / "ran").exists()
    whole.commit()
    assert "BROKEN" not in tilth(whole, "verify")
    whole.run("git", "revert", "--no-edit", "HEAD")
    holds(whole, expected)
