"""Share and fetch, on real DVC: three small stages, a variant that was never committed, and what may be broken."""

import json
import os
import shutil
import sys
from pathlib import Path

import preloaded
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
GRAPH = """
stages:
  check:
    cmd: cp params.yaml checked.txt
    params: [{params.yaml: null}]
    outs: [checked.txt: {cache: false}]
  train:
    cmd: python train.py
    deps: [train.py, raw.txt, checked.txt]
    params: [rate]
    outs: [models/align]
  evaluate:
    cmd: mkdir -p scores && cat models/align/weights models/align/more/card > scores/align.json
    deps: [models/align]
    outs: [scores/align.json]
"""
TRAIN = """
from pathlib import Path
rate = Path("params.yaml").read_text()
Path("models/align/more").mkdir(parents=True)
Path("models/align/weights").write_text(rate + Path("raw.txt").read_text())
Path("models/align/more/card").write_text("card of " + rate)
"""
CHECKED = ["check"]  # reads all of params.yaml: DVC keeps no record of such a stage, and it costs nothing
pytestmark = pytest.mark.slow


class Folder:
    """A repository. real: see preloaded.run."""

    def __init__(self, path, real=False):
        self.path = path
        self.real = real

    def run(self, *command, fails=False, **environment):
        """Output of a command, without a word on the network, as another user of the machine would run it."""
        who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        settings = os.environ | {"PYTHONPATH": str(ROOT)} | who | environment
        # DVC remembers what it saw on a remote, for all clones of a machine: a colleague has another machine
        settings["DVC_SITE_CACHE_DIR"] = str(self.path.parent / f"{self.path.name}-site")
        done = preloaded.run(command, cwd=self.path, env=settings, real=self.real, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def tilth(self, *arguments, fails=False, **environment):
        return self.run(sys.executable, "-m", "commands", *arguments, fails=fails, **environment)

    def repro(self):
        """The stages that ran, not those that were restored."""
        lines = self.run("dvc", "repro").splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def switch(self, rate):
        (self.path / "params.yaml").write_text(f"rate: {rate}\n", encoding="utf-8")

    def commit(self):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "a change")

    def clone(self, path):
        self.run("git", "clone", "-q", ".", str(path))
        return Folder(path, self.real)

    def objects(self, folder=".dvc/cache"):
        return sorted(path for path in (self.path / folder / "files/md5").rglob("*") if path.is_file())

    def lock_md5(self, out):
        """The hash of an output as committed."""
        lock = YAML(typ="safe", pure=True).load(self.run("git", "show", "HEAD:dvc.lock"))
        return next(one["md5"] for stage in lock["stages"].values() for one in stage["outs"] if one["path"] == out)

    def object_of(self, out, folder=".dvc/cache"):
        """The object of an output of dvc.lock, or of its first member."""
        md5 = self.lock_md5(out)
        path = self.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        if md5.endswith(".dir"):
            md5 = json.loads(path.read_bytes())[0]["md5"]
        return self.path / folder / "files/md5" / md5[:2] / md5[2:]


def project(folder, graph=GRAPH, real=False):
    """A repository in which the variant of rate 1 is committed, and that of rate 2 was built before and never was."""
    folder.mkdir(parents=True)
    made = Folder(folder, real)
    for name, text in (("dvc.yaml", graph), ("train.py", TRAIN), ("raw.txt", "raw\n")):
        (folder / name).write_text(text, encoding="utf-8")
    made.run("git", "init", "-q")
    made.run("dvc", "init", "-q")
    made.switch(1)
    made.repro()
    made.switch(2)
    assert made.repro() == ["check", "train", "evaluate"]
    made.switch(1)
    made.repro()
    made.run("dvc", "remote", "add", "--default", "team", "../remote")
    made.commit()
    return made


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return project(tmp_path_factory.mktemp("share") / "project")


@pytest.fixture
def mine(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "mine", symlinks=True)
    return Folder(tmp_path / "mine")


def test_a_colleague_switches_to_a_variant_that_was_never_committed_and_runs_nothing(mine, tmp_path):
    said = mine.tilth("share")
    assert "remote team: " in said and "sent" in said
    yours = mine.clone(tmp_path / "yours")
    yours.tilth("fetch")
    assert yours.repro() == []
    assert yours.run("git", "status", "--porcelain") == ""
    yours.switch(2)
    assert yours.repro() == CHECKED
    assert (yours.path / "models/align/weights").read_text() == "rate: 2\nraw\n"
    assert (yours.path / "scores/align.json").read_text() == "rate: 2\nraw\ncard of rate: 2\n"


def test_dvc_itself_leaves_that_variant_behind(mine, tmp_path):
    mine.run("dvc", "push", "--run-cache")
    yours = mine.clone(tmp_path / "yours")
    yours.run("dvc", "pull", "--run-cache")
    yours.switch(2)
    assert "train" in yours.repro()


def test_what_is_there_is_not_sent_again(mine, tmp_path):
    mine.tilth("share")
    assert "team: 0 objects (0 bytes) and 0 run records sent" in mine.tilth("share")
    yours = mine.clone(tmp_path / "yours")
    yours.tilth("fetch")
    assert "team: 0 objects (0 bytes) and 0 run records fetched" in yours.tilth("fetch")


def test_a_dry_run_moves_nothing_and_says_the_same_numbers(mine, tmp_path):
    planned = mine.tilth("share", "--dry-run")
    assert not mine.objects("../remote")
    sent = mine.tilth("share")
    assert planned.split(" (")[0] == sent.split(" (")[0]
    yours = mine.clone(tmp_path / "yours")
    planned = yours.tilth("fetch", "--dry-run")
    assert not yours.objects()
    assert planned.split(" (")[0] == yours.tilth("fetch").split(" (")[0]


def test_a_missing_object_of_the_workspace_is_named_and_the_rest_is_sent(mine):
    gone = mine.object_of("models/align")
    gone.unlink()
    said = mine.tilth("share", fails=True)
    assert "train: models/align: 1 object is neither here nor on the remote" in said
    assert "hint: dvc repro" in said
    assert mine.object_of("scores/align.json", "../remote").is_file()


def test_a_folder_that_lacks_a_member_has_no_list_on_the_remote(mine):
    """DVC takes such a list for a promise that all of it is there."""
    mine.object_of("models/align").unlink()
    mine.tilth("share", fails=True)
    sent = {path.parent.name + path.name for path in mine.objects("../remote") if path.suffix == ".dir"}
    assert mine.lock_md5("models/align") not in sent and len(sent) == 1


def test_a_missing_object_of_another_variant_is_listed_and_its_record_stays_here(mine, tmp_path):
    lists = [path for path in mine.objects() if path.suffix == ".dir"]
    other = next(path for path in lists if path.parent.name + path.name != mine.lock_md5("models/align"))
    members = {item["relpath"]: item["md5"] for item in json.loads(other.read_bytes())}
    (mine.path / ".dvc/cache/files/md5" / members["weights"][:2] / members["weights"][2:]).unlink()
    said = mine.tilth("share")
    assert "1 run record incomplete: DVC would run their stages again" in said
    assert "  python train.py: models/align: 1 object is neither here nor on the remote" in said
    yours = mine.clone(tmp_path / "yours")
    yours.tilth("fetch")
    yours.switch(2)
    assert yours.repro() == [*CHECKED, "train"]


def test_a_damaged_object_is_never_sent(mine):
    bad = mine.object_of("models/align")
    bad.chmod(0o644)
    bad.write_text("damaged", encoding="utf-8")
    bad.chmod(0o444)
    said = mine.tilth("share", fails=True)
    assert "train: models/align: 1 object is damaged in the cache here" in said
    assert not mine.object_of("models/align", "../remote").exists()


def test_a_damaged_record_is_named_and_not_sent(mine):
    record = sorted(path for path in (mine.path / ".dvc/cache/runs").rglob("*") if path.is_file())[0]
    record.write_text(record.read_text().replace("cmd: ", "cmd: x"), encoding="utf-8")
    said = mine.tilth("share", fails=True)
    assert f"{record.parent.name}/{record.name}: its content does not belong to its name" in said
    assert not list((mine.path / "../remote/runs").rglob(record.name))


def test_a_record_without_its_objects_is_repaired_by_those_who_have_them(mine, tmp_path):
    mine.run("dvc", "push", "--run-cache")  # the records are there, the objects of the other variant are not
    mine.tilth("share")
    yours = mine.clone(tmp_path / "yours")
    yours.run("dvc", "pull", "--run-cache")
    yours.tilth("fetch")
    yours.switch(2)
    assert yours.repro() == CHECKED


def test_bars_tell_what_is_going_on(mine, tmp_path):
    said = mine.tilth("share", DVC_IGNORE_ISATTY="1")
    assert all(f"{doing}|" in said for doing in ("listing", "hashing", "sending"))
    said = mine.clone(tmp_path / "yours").tilth("fetch", DVC_IGNORE_ISATTY="1")
    assert all(f"{doing}|" in said for doing in ("listing", "reading records", "fetching"))


def test_no_remote_says_how_to_add_one(mine):
    mine.run("dvc", "remote", "remove", "team")
    assert "dvc remote add -d <remote name> <remote url>" in mine.tilth("share", fails=True)
    assert "no remote specified" in mine.tilth("fetch", fails=True)


def test_an_unknown_remote_is_named(mine):
    assert "remote nobody: " in mine.tilth("share", "--remote", "nobody", fails=True)


def test_a_remote_that_cannot_be_written_is_one_line(mine):
    (mine.path / "../remote").write_text("a file, not a folder", encoding="utf-8")
    said = mine.tilth("share", fails=True)
    assert "remote team: " in said and "hint: " in said


def test_http_remotes_are_refused_with_a_way_out(mine):
    mine.run("dvc", "remote", "add", "web", "http://127.0.0.1:9/x")
    said = mine.tilth("share", "--remote", "web", fails=True)
    assert "remote web: is plain HTTP, which cannot be listed: it keeps no run records" in said


def test_another_remote_than_the_default_one_is_used_when_named(mine, tmp_path):
    mine.run("dvc", "remote", "add", "other", "../elsewhere")
    assert "remote other: " in mine.tilth("share", "--remote", "other")
    assert mine.objects("../elsewhere") and not (mine.path / "../remote").exists()


def test_outputs_that_must_not_be_pushed_are_left_and_named(tmp_path):
    made = project(tmp_path / "mine", GRAPH.replace("[scores/align.json]", "[scores/align.json: {push: false}]"))
    assert "left alone: scores/align.json has `push: false`" in made.tilth("share")


def test_what_moves_is_told_as_json(mine, tmp_path):
    planned = json.loads(mine.tilth("share", "--dry-run", "--json"))
    assert not planned["moved"] and planned["objects"] > 0 and planned["remote"] == "team"
    sent = json.loads(mine.tilth("share", "--json"))
    assert sent["moved"] and sent["objects"] == planned["objects"] and sent["run_records"] == planned["run_records"] > 0
    assert sent["bytes"] > 0 and planned["bytes"] > 0 and sent["not_whole"] == []
    fetched = json.loads(mine.clone(tmp_path / "yours").tilth("fetch", "--json"))
    assert fetched["moved"] and fetched["objects"] == sent["objects"] and fetched["checked_out"] == []
