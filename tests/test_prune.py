"""Prune, on real DVC: a graph of two small stages with the names and the folders of the project's."""

import json
import os
import shutil
import sys
from pathlib import Path
from posixpath import normpath

import preloaded
import pytest
from filelock import FileLock
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
GRAPH = """
vars: [params.yaml]
stages:
  ingest:
    foreach: ${datasets}
    do:
      cmd: mkdir -p data/ingested/${key} && cp ${item.raw} data/ingested/${key}/rows.parquet
      deps: ["${item.raw}"]
      outs: ["data/ingested/${key}"]
  train:
    foreach: ${steps}
    do:
      cmd: mkdir -p models/${key} scores && echo ${key} > models/${key}/model.safetensors && echo 1 > scores/${key}.csv
      deps: ["data/ingested/${item.dataset}"]
      outs: ["models/${key}"]
      plots: ["scores/${key}.csv"]
"""
PARAMS = {
    "seed": 7, "launch": "python", "eval_fraction": 0.1, "base": {"model": "tiny"},
    "datasets": {name: {"kind": "sft", "raw": f"data/raw/{name}.jsonl"} for name in ("chat", "old")},
    "steps": {
        "sft": {"method": "sft", "from": "base", "dataset": "chat"},
        "gone": {"method": "sft", "from": "sft", "dataset": "old"},
    },
    "curate": {}, "preflight": {}, "evaluate": {"max_new_tokens": 4, "max_rows": 4, "batch_size": 4},
}  # fmt: skip
pytestmark = pytest.mark.slow
LEFT = ("models/gone", "scores/gone.csv", "data/ingested/old", ".work/gone")


class Folder:
    def __init__(self, path):
        self.path = path

    def run(self, *command, fails=False):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = preloaded.run(command, cwd=self.path, env=environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def prune(self, *options, fails=False):
        return self.run(sys.executable, "-m", "commands", "prune", *options, fails=fails)

    def write(self, params):
        with open(self.path / "params.yaml", "w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(params, file)

    def remove_a_step_and_a_dataset(self):
        kept = {"datasets": {"chat": PARAMS["datasets"]["chat"]}, "steps": {"sft": PARAMS["steps"]["sft"]}}
        self.write(PARAMS | kept)
        return self

    def there(self):
        return [name for name in LEFT if (self.path / name).exists()]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("prune") / "project")
    (folder.path / "data/raw").mkdir(parents=True)
    (folder.path / ".dvc").mkdir()
    (folder.path / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    (folder.path / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    (folder.path / ".gitignore").write_text("/.work/\n/.dvc/cache\n/.dvc/tmp\n", encoding="utf-8")
    for name in PARAMS["datasets"]:
        (folder.path / f"data/raw/{name}.jsonl").write_text(f"rows of {name}", encoding="utf-8")
    folder.write(PARAMS)
    folder.run("git", "init", "-q")
    folder.run("dvc", "repro", "-q")
    (folder.path / ".work/gone").mkdir(parents=True)
    (folder.path / ".work/gone/lock.0").touch()
    folder.run("git", "add", "-A")
    return folder


@pytest.fixture
def project(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "project", symlinks=True)
    return Folder(tmp_path / "project")


def test_all_that_is_left_of_what_params_no_longer_has_goes_and_nothing_else(project):
    before = (project.path / "dvc.lock").read_text(encoding="utf-8")
    out = project.remove_a_step_and_a_dataset().prune()
    assert project.there() == []
    for said in ("models/gone, 5 bytes", "the entry train@gone of dvc.lock", "the line /gone.csv of scores/.gitignore"):
        assert f"removed {said}" in out
    lock = (project.path / "dvc.lock").read_text(encoding="utf-8")
    assert "gone" not in lock and "old" not in lock
    assert set(lock.splitlines()) < set(before.splitlines()) and "train@sft:" in lock and "ingest@chat:" in lock
    assert (project.path / "models/.gitignore").read_text(encoding="utf-8") == "/sft\n"
    assert (project.path / "data/raw/old.jsonl").exists() and (project.path / "models/sft").exists()
    assert "up to date" in project.run("dvc", "status")
    assert "Running stage" not in project.run("dvc", "repro")
    assert "nothing is left" in project.prune()


def test_the_cache_is_left_alone_so_that_a_step_that_comes_back_is_restored(project):
    project.remove_a_step_and_a_dataset().prune()
    project.write(PARAMS)
    assert "Running stage" not in project.run("dvc", "repro")
    assert (project.path / "models/gone/model.safetensors").read_text(encoding="utf-8") == "gone\n"


def test_a_list_of_what_expired_that_no_stage_writes_goes_though_git_has_it(project):
    stray = project.path / ".build/expired/old.json"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}\n", encoding="utf-8")
    (stray.parent / ".gitkeep").touch()
    project.run("git", "add", "-A")
    assert "would remove .build/expired/old.json, 3 bytes" in project.prune("--dry-run") and stray.exists()
    assert "removed .build/expired/old.json, 3 bytes" in project.prune()
    assert sorted(path.name for path in stray.parent.iterdir()) == [".gitkeep"]


def test_a_dry_run_says_what_would_go_and_removes_nothing(project):
    lock = (project.path / "dvc.lock").read_bytes()
    out = project.remove_a_step_and_a_dataset().prune("--dry-run")
    assert "would remove models/gone, 5 bytes" in out and "dvc gc" in out
    assert "removed" not in out
    assert project.there() == list(LEFT) and (project.path / "dvc.lock").read_bytes() == lock


def test_nothing_is_left_over_of_what_params_has(project):
    assert "nothing is left" in project.prune()
    assert project.there() == list(LEFT)


def test_what_no_stage_built_is_reported_and_stays(project):
    (project.path / "models/notes.txt").write_text("mine", encoding="utf-8")
    (project.path / "scores/kept.csv").write_text("in git", encoding="utf-8")
    project.run("git", "add", "-f", "scores/kept.csv")
    out = project.remove_a_step_and_a_dataset().prune()
    assert "left alone: models/notes.txt: no stage built it" in out and "kept.csv" not in out
    assert (project.path / "models/notes.txt").exists() and (project.path / "scores/kept.csv").exists()


def test_an_output_that_was_changed_by_hand_stays_with_its_entry(project):
    (project.path / "models/gone/model.safetensors").chmod(0o644)
    (project.path / "models/gone/model.safetensors").write_text("mended", encoding="utf-8")
    out = project.remove_a_step_and_a_dataset().prune()
    assert "left alone: models/gone: it was changed after it was built" in out
    assert (project.path / "models/gone/model.safetensors").read_text(encoding="utf-8") == "mended"
    assert "train@gone:" in (project.path / "dvc.lock").read_text(encoding="utf-8")
    assert not (project.path / "data/ingested/old").exists()


@pytest.mark.parametrize("path", ["data/raw/old.jsonl", "../outside", "models", "data/ingested/../raw/old.jsonl"])
def test_a_hand_edited_lock_removes_nothing_outside_the_folders_of_outputs(project, path):
    (project.path.parent / "outside").write_text("not ours", encoding="utf-8")
    lock = (project.path / "dvc.lock").read_text(encoding="utf-8")
    (project.path / "dvc.lock").write_text(lock.replace("path: models/gone", f"path: {path}"), encoding="utf-8")
    out = project.remove_a_step_and_a_dataset().prune()
    assert f"left alone: {normpath(path)}: it is outside" in out
    assert (project.path / "data/raw/old.jsonl").exists() and (project.path.parent / "outside").exists()
    assert (project.path / "models/sft").exists()


def test_the_last_copy_is_said_to_be_one(project):
    shutil.rmtree(project.path / ".dvc/cache")
    out = project.remove_a_step_and_a_dataset().prune("--dry-run")
    assert "would remove models/gone, 5 bytes (the last copy: the DVC cache does not have it)" in out


def test_a_trainer_that_still_runs_keeps_its_folder(project):
    with FileLock(project.path / ".work/gone/lock.0"):
        out = project.remove_a_step_and_a_dataset().prune()
    assert "left alone: .work/gone: its trainer still runs" in out and project.there() == [".work/gone"]


def test_a_mistake_in_params_is_no_removed_step(project):
    project.write({key: value for key, value in PARAMS.items() if key != "steps"})
    assert "params.yaml: steps: the key is missing" in project.prune(fails=True)
    assert project.there() == list(LEFT)


def test_a_lock_that_does_not_parse_is_an_error(project):
    (project.path / "dvc.lock").write_text("stages: [", encoding="utf-8")
    assert "does not parse" in project.remove_a_step_and_a_dataset().prune(fails=True)


def test_a_real_build_is_pruned_to_what_params_has(built, tmp_path):
    project = built.copy(tmp_path / "copy")
    params = project.read_params()
    project.write_params(params | {"steps": {"sft": params["steps"]["sft"]}})
    project.repro()
    out = project.run("python", "-m", "commands", "prune")
    assert "removed models/align" in out and "removed the entry evaluate@align of dvc.lock" in out
    assert "up to date" in project.run("dvc", "status") and project.repro() == set()
    assert not list(project.folder.glob("scores/align.*")) and not (project.folder / "report/cards/align.md").exists()
    lineage = project.run("python", "-m", "commands", "lineage")
    assert "align" not in lineage and "stale" not in lineage


def test_what_would_go_is_told_as_json(project):
    found = json.loads(project.remove_a_step_and_a_dataset().prune("--dry-run", "--json"))
    assert not found["removed"] and {entry["path"] for entry in found["paths"]} == set(LEFT)
    assert set(found["entries"]) == {"ingest@old", "train@gone"} and project.there() == list(LEFT)
