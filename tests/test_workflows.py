"""GitHub's workflows: Tilth's own, and the one of a team's repository, whose steps run here as a runner would run them."""

import re
from pathlib import Path

import pytest
from conftest import Project
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github/workflows"
COMMANDS = ("dvc pull", "tilth check", "tilth plan", "tilth verify", "tilth diff")
SHELL = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c")  # GitHub's for `shell: bash`


def jobs_of(name):
    return YAML(typ="safe", pure=True).load(FOLDER / f"{name}.yml")["jobs"]


def job_of(name):
    """The first job of a workflow, which runs on each push."""
    return next(iter(jobs_of(name).values()))


def steps():
    """{name: step} of the team's workflow, of those that run something."""
    return {step["name"]: step for step in jobs_of("team")["check"]["steps"] if "run" in step}


def test_of_the_two_workflows_one_runs_in_a_repository():
    assert sorted(path.stem for path in FOLDER.glob("*")) == ["team", "tilth"]
    assert all(job["if"].startswith("vars.TILTH_ITSELF == '1' && ") for job in jobs_of("tilth").values())
    assert [job["if"] for job in jobs_of("team").values()] == ["vars.TILTH_ITSELF != '1'"]


def test_every_set_of_versions_is_tested_and_built():
    said = {name: "".join(step.get("run", "") for step in job["steps"]) for name, job in jobs_of("tilth").items()}
    assert said["build"] == ".ci/run" and "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    sets = sorted(path.name for path in ROOT.glob("constraints*.txt"))
    assert sets == ["constraints-next.txt", "constraints.txt"]
    assert said["next"] == "make quick build CONSTRAINTS=constraints-next.txt"


def test_a_machine_of_ones_own_with_a_gpu_runs_what_was_pushed_where_a_variable_names_it():
    job = jobs_of("tilth")["gpu"]
    assert job["if"] == "vars.TILTH_ITSELF == '1' && vars.GPU_RUNNER != '' && github.event_name == 'push'"
    assert job["runs-on"].startswith("${{ vars.GPU_RUNNER") and job["steps"][1]["run"] == "make gpu"


def test_the_real_unsloth_is_tried_each_week_and_not_with_each_push():
    workflow = YAML(typ="safe", pure=True).load(FOLDER / "tilth.yml")
    assert len(workflow["on"]["schedule"]) == 1
    assert (
        "github.event_name != 'schedule'" in job_of("tilth")["if"] and "'schedule'" in jobs_of("tilth")["unsloth"]["if"]
    )
    (command,) = [step["run"] for step in jobs_of("tilth")["unsloth"]["steps"] if "run" in step]
    goal = command.removeprefix("make ")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"{goal}: setup\n\t$(RUN) pytest -m long tests/with_unsloth\n" in makefile
    assert list((ROOT / "tests/with_unsloth").glob("test_*.py"))


def test_the_workflow_of_a_team_checks_what_was_built_and_trains_nothing():
    assert [*steps()] == ["install", *COMMANDS]
    assert all(name in step["run"] for name, step in steps().items() if name != "install")
    assert not re.search(r"repro|make build|stages|exp run", "".join(step["run"] for step in steps().values()))
    assert jobs_of("team")["check"]["defaults"] == {"run": {"shell": "bash"}}


def test_what_a_pull_request_says_is_no_code_of_a_step():
    assert not [name for name, step in steps().items() if "${{" in step["run"]]


def test_the_page_on_sharing_names_every_setting_of_the_workflow():
    page = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")
    source = (FOLDER / "team.yml").read_text(encoding="utf-8")
    settings = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", source))
    assert settings and not [name for name in settings if f"`{name}`" not in page]
    assert "tilth diff --md" in page


# -- as a runner would run them -----------------------------------------------------------------------------------

GH = '#!/bin/sh\nprintf "%s\\n" "$*" > "$RUNNER_TEMP/gh"\ncp "$5" "$RUNNER_TEMP/said.md"\n'


class Runner(Project):
    """A checkout of a pull request on a machine with `tilth` and `gh`, which notes what it is asked."""

    def __init__(self, folder, temp):
        super().__init__(folder)
        self.temp = temp
        (temp / "bin").mkdir(parents=True)
        for name, text in (("tilth", '#!/bin/sh\nexec python -m commands "$@"\n'), ("gh", GH)):
            (temp / "bin" / name).write_text(text)
            (temp / "bin" / name).chmod(0o755)

    def step(self, name):
        """Exit code and output of a step, none where its file of the first build is not there."""
        step = steps()[name]
        if "hashFiles('dvc.lock') != ''" in step.get("if", "") and not (self.folder / "dvc.lock").exists():
            return None, ""
        variables = {
            "RUNNER_TEMP": self.temp,
            "GITHUB_STEP_SUMMARY": self.temp / "summary.md",
            "BASE": "origin/main",
            "NUMBER": "7",
        }
        path = f'PATH="{self.temp / "bin"}:$PATH"; '  # the programs of the tests stay in front of what is installed
        done = self.start(*SHELL, path + step["run"], **{key: str(value) for key, value in variables.items()})
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def team(built, tmp_path):
    """A built repository of which DVC's remote has everything, on branch main."""
    project = built.copy(tmp_path / "origin")
    project.run("dvc", "remote", "add", "-q", "--default", "team", str(tmp_path / "remote"))
    project.run("dvc", "push", "-q")
    project.run("git", "branch", "-m", "main")
    project.commit()
    return project


def checkout(team, tmp_path):
    team.run("git", "clone", "-q", ".", str(tmp_path / "checkout"))
    return Runner(tmp_path / "checkout", tmp_path / "runner")


@pytest.mark.slow
def test_what_was_built_and_pushed_passes_every_step_and_trains_nothing(team, tmp_path):
    runner = checkout(team, tmp_path)
    said = {name: runner.step(name) for name in COMMANDS}
    assert [code for code, _ in said.values()] == [0] * len(COMMANDS), said
    assert "dvc repro would run nothing" in (tmp_path / "runner/summary.md").read_text()
    assert (tmp_path / "runner/gh").read_text() == (
        f"pr comment 7 --body-file {tmp_path / 'runner'}/comment.md --edit-last --create-if-none\n"
    )
    assert runner.run("git", "status", "--short") == ""
    assert "Running stage" not in "".join(output for _, output in said.values())


@pytest.mark.slow
def test_a_rate_that_was_edited_and_not_built_is_planned_said_and_refused(team, tmp_path):
    params = team.read_params()
    params["steps"]["align"]["args"]["learning_rate"] = 4.5e-5
    team.run("git", "checkout", "-q", "-b", "faster")
    team.write_params(params)
    team.commit()
    runner = checkout(team, tmp_path)
    said = {name: runner.step(name) for name in COMMANDS}
    assert [name for name, (code, _) in said.items() if code] == ["tilth verify"], said
    assert "train@align" in said["tilth plan"][1]
    assert "learning_rate" in said["tilth verify"][1]
    assert "learning_rate" in (tmp_path / "runner/said.md").read_text()
    assert "Running stage" not in "".join(output for _, output in said.values())


@pytest.mark.slow
def test_before_the_first_build_params_are_checked_and_no_more(team, tmp_path):
    team.run("git", "rm", "-q", "dvc.lock")
    team.commit()
    runner = checkout(team, tmp_path)
    assert [runner.step(name)[0] for name in COMMANDS] == [None, 0, 0, None, None]
