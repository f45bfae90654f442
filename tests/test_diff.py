import json
import os
import re
import sys

import preloaded
import pytest
from builds import git, object_of, put_object, write_yaml
from ruamel.yaml import YAML
from test_row_changes import write

from commands.builds import build as _build
from commands.builds.build import read_build
from commands.builds.diff_text import code, markdown, text
from commands.diff import diff_builds

CHAT = {"chat": {"kind": "sft", "raw": "data/raw/chat.jsonl"}}
STEP = {"method": "sft", "from": "base", "dataset": "chat", "args": {"learning_rate": 1e-3}}
SCORE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "change": None, "change_low": None, "change_high": None}


class Scratch:
    """A repository of builds: each commit has params, a lock, and its outputs in the cache."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        git(folder, "init", "-qb", "main")
        (folder / ".dvc").mkdir()
        (folder / ".dvc/config").touch()
        (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")

    def save(self, tag, params, scores=None, deps=(), **rows):
        """Commit a build of the dataset `chat` with these rows (see test_row_changes.write)."""
        self.count += 1
        files = write(self.folder.parent / f"rows{self.count}", **rows)
        outs = [self.cached(f"data/{room}/chat.parquet", path.read_bytes()) for room, path in files.items()]
        models = [self.cached("models/sft", str(params["steps"]).encode())]
        if scores:
            models.append(self.cached("scores/sft.json", json.dumps(scores).encode()))
        stages = {
            "curate@chat": {"cmd": "c", "deps": list(deps), "outs": outs},
            "train@sft": {"cmd": "t", "outs": models},
        }
        for name, data in (("params.yaml", params), ("dvc.lock", {"schema": "2.0", "stages": stages})):
            write_yaml(self.folder / name, data)
        git(self.folder, "add", "params.yaml", "dvc.lock", "dvc.yaml")
        git(self.folder, "commit", "-qm", tag)
        git(self.folder, "tag", tag)

    def cached(self, path, data):
        return {"path": path, "hash": "md5", "md5": put_object(self.folder, data), "size": len(data)}

    def object(self, md5):
        return object_of(self.folder, md5)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _build.cache_folder.cache_clear()
    yield Scratch(folder)
    _build.cache_folder.cache_clear()


def params(**changes):
    return {"seed": 7, "datasets": CHAT, "steps": {"sft": STEP}} | changes


def between(old, new, limit=None):
    problems = []
    found = diff_builds(read_build(old), read_build(new), limit, problems)
    names = {"from": {"rev": old, "commit": read_build(old).rev}, "to": {"rev": new, "commit": read_build(new).rev}}
    return found | names, problems


def test_two_builds_that_are_the_same_differ_in_nothing_and_no_table_is_read(scratch):
    for tag in ("v1", "v2"):
        scratch.save(tag, params(seed=7, methods={tag: 1}), train=[("aa", 1)])
    for stage in read_build("v1").stages.values():
        for out in stage.outs.values():
            scratch.object(out.md5).unlink()
    found, problems = between("v1", "v2")
    assert not any(found[key] for key in ("params", "files", "datasets", "models", "scores")) and not problems
    assert list(text(found))[1:] == ["nothing differs: same parameters, same rows, same models, same scores"]


def test_parameters_rows_models_and_scores_stand_beside_each_other(scratch):
    scratch.save("v1", params(), {"chat": {"loss": SCORE}}, train=[("aa", 1), ("bb", 2)])
    step = STEP | {"args": {"learning_rate": 2e-3}}
    changed = params(steps={"sft": step})
    scratch.save("v2", changed, {"chat": {"loss": SCORE | {"value": 0.7, "high": 0.8}}}, train=[("aa", 1), ("cc", 2)])
    found, problems = between("v1", "v2")
    assert not problems
    said = "\n".join(text(found))
    assert "steps.sft.args.learning_rate: 0.001 -> 0.002" in said
    assert "  sft: changed" in said
    assert "     1  changed  train  train" in said
    assert "loss  0.500 [0.400, 0.600]  0.700 [0.400, 0.800]  +0.200" in said
    (rows,) = found["datasets"]
    assert rows["sizes"] == {"train": [2, 2]}  # eval and rejected have the same bytes


def test_a_score_that_has_no_value_in_one_build_is_told_without_a_change(scratch):
    for tag, value in (("v1", None), ("v2", 0.7)):
        loss = SCORE | {"value": value, "low": None, "high": None}
        scratch.save(tag, params(seed=7), {"chat": {"loss": loss}}, train=[("aa", 1)])
    found, problems = between("v1", "v2")
    assert [score["change"] for score in found["scores"]] == [None] and not problems
    assert re.search(r"loss +none +0\.700", "\n".join(text(found)))


def test_raw_data_and_code_that_differ_are_named(scratch):
    deps = [
        {"path": "stages/curate.py", "md5": "11", "size": 10},
        {"path": "data/raw/chat.jsonl", "md5": "22", "size": 5},
    ]
    scratch.save("v1", params(), deps=deps, train=[("aa", 1)])
    scratch.save("v2", params(), deps=[deps[0] | {"md5": "33", "size": 12}, deps[1]], train=[("aa", 1)])
    found, _ = between("v1", "v2")
    assert [file["path"] for file in found["files"]] == ["stages/curate.py"]
    assert "  stages/curate.py  10 -> 12 bytes" in list(text(found))


def test_a_dataset_that_is_added_or_removed_is_told_with_its_rows(scratch):
    scratch.save("v1", params(), train=[("aa", 1)], held_out=[("bb", 2)])
    scratch.save("v2", params(datasets={}, steps={}), train=[("aa", 1)])
    gone, _ = between("v1", "v2")
    assert [(item["change"], item["sizes"]["train"]) for item in gone["datasets"]] == [("removed", [1, None])]
    new, _ = between("v2", "v1")
    assert [(item["to"], item["rows"]) for item in new["datasets"][0]["rows"]] == [("eval", 1), ("train", 1)]
    assert new["models"] == [{"model": "sft", "change": "added"}]


def test_a_move_between_train_and_eval_needs_another_seed_or_is_pointed_at(scratch):
    scratch.save("v1", params(), train=[("aa", 1), ("bb", 2)])
    scratch.save("v2", params(), train=[("aa", 1)], held_out=[("bb", 2)])
    scratch.save("v3", params(seed=8), train=[("aa", 1)], held_out=[("bb", 2)])
    assert any("though no param of the split differs" in line for line in text(between("v1", "v2")[0]))
    assert not any("though neither" in line for line in text(between("v1", "v3")[0]))


def test_missing_bytes_are_named_after_all_that_can_be_said(scratch):
    scratch.save("v1", params(), {"chat": {"loss": SCORE}}, train=[("aa", 1)])
    scratch.save("v2", params(seed=8), {"chat": {"loss": SCORE | {"value": 0.7}}}, train=[("bb", 1)])
    scratch.object(read_build("v1").md5_of("data/train/chat.parquet")).unlink()
    found, problems = between("v1", "v2")
    assert [problem.where[11:] for problem in problems] == ["data/train/chat.parquet"]
    said = list(text(found))
    assert "chat: changed, but its rows cannot be read" in said
    assert "  seed: 7 -> 8" in said and any("+0.200" in line for line in said)


def test_what_a_row_says_cannot_reach_the_terminal_or_end_a_block_of_markdown(scratch):
    scratch.save("v1", params(), rejects=[(None, 1, "ingest.json", "{\x1b[31m old\n```\n# heading")])
    scratch.save("v2", params(), rejects=[(None, 1, "ingest.json", "{ new `|<b>")])
    found, _ = between("v1", "v2", limit=0)
    for lines in (list(text(found)), list(markdown(found))):
        said = "\n".join(lines)
        assert "\x1b" not in said and r"- {\x1b[31m old\n```\n# heading" in said and "+ {" in said
    inside = [line for line in markdown(found) if "heading" in line or "<b>" in line]
    assert inside and all(line.startswith("    ") for line in inside)


def test_backticks_in_code_do_not_end_it():
    assert code("plain") == "`plain`"
    assert code("a `` b") == "``` a `` b ```"


def test_not_built_parameters_of_the_working_tree_are_noted(scratch):
    scratch.save("v1", params(), train=[("aa", 1)])
    lock = YAML(typ="safe", pure=True).load(scratch.folder / "dvc.lock")
    lock["stages"]["check"] = {"cmd": "k", "params": {"params.yaml": params()}}
    write_yaml(scratch.folder / "dvc.lock", lock)
    write_yaml(scratch.folder / "params.yaml", params(seed=9))
    found = diff_builds(read_build("v1"), read_build(), None, [])
    assert found["not_built"] == [{"key": "seed", "old": 7, "new": 9}]


def tilth(scratch, *arguments):
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "COLUMNS": "80"}
    environment["PYTHONPATH"] = str(_build.__file__).rsplit("/commands/", 1)[0]
    command = [sys.executable, "-m", "commands", *arguments]
    done = preloaded.run(command, cwd=scratch.folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_command_prints_text_json_and_markdown_and_stops_at_what_it_does_not_know(scratch):
    scratch.save("v1", params(), train=[("aa", 1)])
    scratch.save("v2", params(seed=8), train=[("aa", 1), ("bb", 2)])
    status, printed, _ = tilth(scratch, "diff", "v1", "v2")
    assert status == 0 and "seed: 7 -> 8" in printed
    status, printed, _ = tilth(scratch, "diff", "v1", "--rows", "--json")
    (row,) = json.loads(printed)["datasets"][0]["records"]
    assert (row["change"], row["new"]["line"]) == ("added", 2) and "question bb" in row["new"]["text"]
    status, printed, _ = tilth(scratch, "diff", "v1", "v2", "--md")
    assert "| 1 | added | - | train |" in printed
    status, _, said = tilth(scratch, "diff", "v11")
    assert status == 1 and "did you mean 'v1'" in said and "Traceback" not in said
    scratch.object(read_build("v1").md5_of("data/train/chat.parquet")).unlink()
    status, printed, said = tilth(scratch, "diff", "v1", "v2")
    assert status == 1 and "seed: 7 -> 8" in printed and "not in the DVC cache" in said


def test_a_row_that_only_moved_is_printed_once(scratch):
    scratch.save("v1", params(), train=[("aa", 1), ("bb", 2)])
    scratch.save(
        "v2", params(), train=[("aa", 1)], rejects=[("bb", 2, "curate.benchmark", '{"messages": [], "tools": null}')]
    )
    said = list(text(between("v1", "v2", limit=0)[0]))
    assert "  data/raw/chat.jsonl:2 moved: train -> rejected: curate.benchmark" in said
    assert [line for line in said if "question bb" in line] == [line for line in said if line.startswith("      {")]
