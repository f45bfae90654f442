"""What a killed dvc has left half written is mended, and nothing that is whole is touched."""

import json
import shutil
import subprocess

import pytest
import zc.lockfile
from ruamel.yaml import YAML

from commands.builds.repairs import repair

LOCK = """\
schema: '2.0'
stages:
  check:
    cmd: python -m stages check
    deps:
    - path: params.yaml
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 12
  collect:
    cmd: python -m stages collect
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {}, "read": {}}))
    return tmp_path


def commit(root):
    for command in (
        ["init", "-q"],
        ["add", "dvc.lock"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)


def test_whole_files_are_left_as_they_are(root):
    assert repair(root) == []
    assert (root / "dvc.lock").read_text() == LOCK
    shutil.rmtree(root / ".dvc/tmp")
    (root / "dvc.lock").unlink()
    assert repair(root) == []


@pytest.mark.parametrize("text", ["", '{"write": {"a": {"pid": 1'])
def test_a_half_written_rwlock_is_removed(root, text):
    (root / ".dvc/tmp/rwlock").write_text(text)
    assert repair(root) == [".dvc/tmp/rwlock was half written by a dvc that was killed: removed"]
    assert not (root / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize(
    "end", [0, 9, 60, len(LOCK) - 40, LOCK.index("hash:"), LOCK.index("cmd: python -m stages collect")]
)
def test_a_dvc_lock_that_is_cut_is_put_back_as_committed_or_removed(root, end):
    (root / "dvc.lock").write_text(LOCK[:end])
    assert repair(root) == ["dvc.lock was half written by a dvc that was killed: removed"]
    assert not (root / "dvc.lock").exists()
    (root / "dvc.lock").write_text(LOCK)
    commit(root)
    (root / "dvc.lock").write_text(LOCK[:end])
    assert repair(root) == ["dvc.lock was half written by a dvc that was killed: restored from the last commit"]
    assert (root / "dvc.lock").read_text() == LOCK


def test_the_files_of_a_dvc_that_runs_are_its_own(root):
    (root / ".dvc/tmp/rwlock").write_text("")
    running = zc.lockfile.LockFile(str(root / ".dvc/tmp/rwlock.lock"))
    assert repair(root) == []
    running.close()
    assert repair(root)


METHODS = """
datasets:
  kto: {kind: kto, raw: raw}
methods:            # ready to use
  sft: &sft
    method: sft
  kto:
    method: kto
  grpo: {method: grpo}
steps:
  sft: *sft
  align: ALIGN
"""


def test_the_name_of_a_method_that_dvc_dropped_is_put_back_when_a_step_takes_it(tmp_path):
    path = tmp_path / "params.yaml"
    for name, line in (("kto", "  kto: &kto\n    method: kto"), ("grpo", "  grpo: &grpo {method: grpo}")):
        path.write_text(METHODS.replace("ALIGN", f"*{name}"))
        assert f"methods.{name} had lost its anchor" in repair(tmp_path)[0]
        assert line in path.read_text() and "datasets:\n  kto: {kind" in path.read_text()
        assert YAML(typ="safe").load(path)["steps"]["align"]["method"] == name
        assert repair(tmp_path) == []


@pytest.mark.parametrize("align", ["*sft", "*ipo", "{method: kto}", "[", "*sft*", "{<<: *sft, args: {}}"])
def test_params_that_miss_no_name_of_a_method_stay_as_they_are(tmp_path, align):
    path = tmp_path / "params.yaml"
    path.write_text(METHODS.replace("ALIGN", align))
    assert repair(tmp_path) == []
    assert path.read_text() == METHODS.replace("ALIGN", align)
