"""docs/upgrading.md, done: a team's clone of an earlier commit, with a build in it, takes the working tree's version."""

import re
import shutil
import subprocess

import pytest
from builds import SAMPLE
from conftest import ROOT, Project, copy_code, shrink

EARLIER = "2723551"  # the training code has changed since, and what it writes has not: take a later one when that is no longer so
pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(2400)]


def present_version(folder):
    """A clone of Tilth with the working tree as its newest commit: where new versions come from."""
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    copy_code(folder)
    there = {
        path.relative_to(ROOT).as_posix()
        for room in ("stages", "validators", "commands")
        for path in (ROOT / room).rglob("*.py")
    }
    for room in ("stages", "validators", "commands"):
        for path in (folder / room).rglob("*.py"):
            if path.relative_to(folder).as_posix() not in there:
                path.unlink()
    shutil.copyfile(SAMPLE, folder / "params.yaml")
    project = Project(folder)
    project.run("git", "checkout", "-q", "-B", "main")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "the present one", "--allow-empty")
    return project


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory):
    """A team's project that was built at the earlier commit and has merged the present one, as the page says; nothing runs yet."""
    if subprocess.run(["git", "cat-file", "-e", f"{EARLIER}^{{commit}}"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip(f"commit {EARLIER} is not in this clone")
    folder = tmp_path_factory.mktemp("upgrading")
    upstream = present_version(folder / "upstream")
    subprocess.run(["git", "clone", "-q", upstream.folder, folder / "team"], check=True)
    team = Project(folder / "team")
    team.run("git", "reset", "-q", "--hard", EARLIER)
    team.run("git", "remote", "rename", "origin", "upstream")
    shrink(team)
    team.repro()
    team.commit()
    team.run("git", "tag", "before-upgrade")
    team.run("git", "merge", "upstream/main", fails=None)
    for path in team.run("git", "diff", "--name-only", "--diff-filter=U").split():
        assert path == "params.yaml" or path.startswith(("data/", ".build/")), path
        team.run("git", "checkout", "--ours", path)
    team.run("python", "-m", "commands", "check")
    team.run("python", "-m", "stages", "code")
    team.run("python", "-m", "stages", "check")
    team.run("git", "add", "-A")
    team.run("git", "commit", "-qm", "a new version", "--allow-empty")
    return team


def planned(team):
    """{stage: why} of what `tilth plan` says runs or may run."""
    import json

    found = json.loads(team.run("python", "-m", "commands", "plan", "--json"))["stages"]
    return {stage["stage"]: stage["why"] for stage in found if stage["verdict"] in ("runs", "may run")}


def weights(team):
    return {path.parent.name: path.read_bytes() for path in (team.folder / "models").glob("*/model.safetensors")}


def test_a_build_of_before_is_built_on_as_the_plan_says(upgraded, tmp_path):
    team = upgraded.copy(tmp_path / "team")
    before, told = weights(team), planned(team)
    assert "train@sft" in told
    ran = team.repro()
    assert ran <= set(told) | {"check", "code"}
    assert ran >= {"train@sft"}
    assert weights(team) == before
    team.commit()
    assert team.repro() == set()
    team.run("python", "-m", "commands", "verify")


def test_a_training_whose_bytes_are_known_to_be_the_same_is_not_run(upgraded, tmp_path):
    team = upgraded.copy(tmp_path / "team")
    team.run("dvc", "repro", "preflight")
    before, told = weights(team), planned(team)
    harmless = r"(stages|validators)/\S+\.py |\d+ more modules? |data/kept/\w+: a new input$"  # which EARLIER had not
    assert all(re.match(harmless, line) for line in told["train@sft"]), told["train@sft"]
    for step in ("train@sft", "train@align"):
        team.run("dvc", "commit", "--force", step)
    assert not {stage for stage in planned(team) if stage.startswith("train")}
    assert not {stage for stage in team.repro() if stage.startswith("train")}
    assert weights(team) == before
    team.commit()
    team.run("python", "-m", "commands", "verify")


def test_the_build_of_before_comes_back(upgraded, tmp_path):
    team = upgraded.copy(tmp_path / "team")
    before = weights(team)
    team.repro()
    team.commit()
    team.run("git", "reset", "-q", "--hard", "before-upgrade")
    team.run("dvc", "checkout")
    assert weights(team) == before
    assert team.repro() == set()
    team.run("python", "-m", "commands", "verify")
