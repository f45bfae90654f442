import hashlib
import json

import pytest

from stages import collect_scores


def say(project, *steps):
    """What `check` writes of the steps that there are."""
    (project / ".build/params").mkdir(parents=True, exist_ok=True)
    (project / ".build/params/collect_scores.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    say(tmp_path, "sft", "align")
    (tmp_path / "scores").mkdir()
    for name in ("base.json", "base.parquet", "sft.csv", "sft.json", "align.json"):
        (tmp_path / "scores" / name).write_text(name)
    return tmp_path


def listed(project):
    collect_scores.main()
    return json.loads((project / ".build/scores.json").read_text())


def test_the_list_has_the_hash_of_every_file_of_scores_in_order_of_names(project):
    found = listed(project)
    assert list(found) == ["align.json", "base.json", "base.parquet", "sft.csv", "sft.json"]
    assert found["sft.csv"] == hashlib.sha256(b"sft.csv").hexdigest()


def test_what_is_left_of_a_removed_step_is_deleted_and_nothing_else(project, capsys):
    say(project, "sft")
    assert list(listed(project)) == ["base.json", "base.parquet", "sft.csv", "sft.json"]
    assert not (project / "scores/align.json").exists()
    assert "scores/align.json belongs to no step of params.yaml, deleted" in capsys.readouterr().out


def test_the_list_comes_out_the_same_where_nothing_changed_and_another_where_a_score_did(project):
    first = listed(project)
    assert listed(project) == first
    (project / "scores/sft.json").write_text("other")
    assert listed(project) != first
