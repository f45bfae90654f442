"""How often an eval set was scored is counted in git's history, each score once."""

import json
import subprocess

import pytest
from builds import git, object_of, put_object, write_yaml

from commands.builds.score_history import count_scorings, score_hashes_in_lock


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that commits a dvc.lock with these scores of one model, which the cache has unless said otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    git(tmp_path, "init", "-q")

    def commit(scores, cached=True, committed=True):
        md5 = put_object(tmp_path, json.dumps(scores).encode())
        if not cached:
            object_of(tmp_path, md5).unlink()
        outs = [
            {"path": "scores/align.json", "hash": "md5", "md5": md5},
            {"path": "scores/align.parquet", "hash": "md5", "md5": "0" * 32},
        ]
        base = [{"path": "scores/base.json", "hash": "md5", "md5": "1" * 32}]
        write_yaml(
            "dvc.lock",
            {
                "schema": "2.0",
                "stages": {"evaluate@align": {"cmd": "x", "outs": outs}, "evaluate_base": {"cmd": "x", "outs": base}},
            },
        )
        if committed:
            git(tmp_path, "add", "dvc.lock")
            git(tmp_path, "commit", "-qm", "a build", "--allow-empty")

    return commit


def test_each_score_of_a_model_counts_once_and_another_dataset_s_change_does_not(project):
    project({"pairs": 1, "chat": 1})
    project({"pairs": 2, "chat": 1})
    project({"pairs": 1, "chat": 1})
    project({"pairs": 3}, committed=False)
    assert count_scorings(["pairs", "chat", "problems"]) == {"pairs": 3, "chat": 1, "problems": 0}


def test_without_its_file_a_score_counts_by_its_hash(project):
    project({"pairs": 1}, cached=False)
    project({"pairs": 2}, cached=False)
    assert count_scorings(["pairs"]) == {"pairs": 2}


def test_without_history_it_is_unknown_and_what_does_not_parse_is_passed_over(project):
    project({"pairs": 1}, committed=False)
    assert count_scorings(["pairs"]) == {"pairs": None} and count_scorings([]) == {}
    assert score_hashes_in_lock("<<<<<<< ours") == [] and score_hashes_in_lock("stages: [1]") == []


def test_outside_git_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert subprocess.run(["git", "rev-parse"], capture_output=True).returncode
    assert count_scorings(["pairs"]) == {"pairs": None}
