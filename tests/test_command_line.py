"""What is so of every command: the version, exit codes, `--json`, and what a shell completes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.commands_pages import commands

ROOT = Path(__file__).parents[1]
WITHOUT_JSON = {"chat", "export", "report", "serve"}  # docs/commands/index.md says why
TILTH = "import sys; sys.path.insert(0, {root!r}); sys.argv[0] = 'tilth'; from commands.__main__ import main; main()"


def tilth(*arguments, folder):
    """`tilth ARGUMENTS`, as in a folder."""
    code = TILTH.format(root=str(ROOT))
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


def test_the_version_names_the_commit_of_the_code_anywhere(tmp_path):
    done = tilth("--version", folder=tmp_path)
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    assert done.returncode == 0 and re.fullmatch(
        r"tilth \d+\.\d+\.\d+(, commit \w{12})?, Python 3\.\d+\.\d+\S*\n", done.stdout
    )
    assert head in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "recommend"),
        (["recommend", "--pairs", "--one-stage"], 0, "recommended: ORPO alone"),
        (["check"], 1, "params.yaml: the file does not exist"),
        (["inspect", "nowhere.jsonl"], 1, "nowhere.jsonl: does not exist"),
        (["chekc"], 2, "chekc"),
        (["recommend", "--paris"], 2, "--paris"),
    ],
)
def test_the_exit_codes_are_those_of_the_page(tmp_path, arguments, code, said):
    (tmp_path / "dvc.yaml").touch()
    done = tilth(*arguments, folder=tmp_path)
    assert done.returncode == code and said in (done.stdout if code == 0 else done.stderr)
    assert "Traceback" not in done.stderr
    assert f"| {code} |" in (ROOT / "docs/commands/index.md").read_text(encoding="utf-8")


def test_every_command_that_prints_facts_has_json():
    with_json = {
        name for name, command in commands().items() if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json == set(commands()) - WITHOUT_JSON


def test_json_is_one_document(tmp_path):
    done = tilth("recommend", "--pairs", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["method"] == "dpo"


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_and_options(tmp_path):
    """With what `tilth --show-completion` prints, in a bash that has sourced it."""
    script = tmp_path / "tilth"
    script.write_text(f"#!{sys.executable}\n{TILTH.format(root=str(ROOT))}\n", encoding="utf-8")
    script.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    typed = 'eval "$(tilth --show-completion bash)"; COMP_WORDS=({}); COMP_CWORD={}; _tilth_completion tilth; echo "${{COMPREPLY[@]}}"'

    def completed(*words):
        command = typed.format(" ".join(words), len(words) - 1)
        return subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        ).stdout.split()

    assert set(completed("tilth", "pr")) == {"preflight", "provenance", "prove", "prune"}
    assert completed("tilth", "ledger", "--ch") == ["--check"]
