"""Each command has a page of what its `--help` says, with a real output of the sample."""

import re
from pathlib import Path

import pytest
from builds import write_sample

from docs.commands_pages import FURTHER_READING, GROUPS, OUTPUTS_FOLDER, command_pages, commands

ROOT = Path(__file__).parents[1]
OUTPUTS = {path.stem: path.read_text(encoding="utf-8") for path in OUTPUTS_FOLDER.glob("*.txt")}


def test_the_pages_are_those_of_the_commands():
    there = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in (ROOT / "docs/commands").glob("*.md")
    }
    assert there == command_pages(), "python -m docs.generate"


def test_every_command_is_in_one_group_and_leads_on():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(commands()) == sorted(FURTHER_READING)
    for link in FURTHER_READING.values():
        assert (ROOT / "docs/commands" / link.partition("#")[0]).is_file(), link


@pytest.mark.parametrize("name", commands())
def test_a_page_shows_every_option_and_an_output(name):
    page = (ROOT / f"docs/commands/{name}.md").read_text(encoding="utf-8")
    for parameter in commands()[name].params:
        names = parameter.opts if parameter.opts[0].startswith("-") else [parameter.metavar or parameter.name]
        assert all(f"`{name}" in page for name in names), names
    first, *rest = OUTPUTS[name].splitlines()
    assert first.startswith(f"$ tilth {name}") and any(line.strip() for line in rest)


@pytest.mark.parametrize("name", ["check", "inspect", "recommend"])
def test_an_output_of_what_needs_no_build_is_what_is_printed(name, tmp_path, monkeypatch, capsys):
    import shlex

    from commands.__main__ import app

    write_sample(tmp_path)
    monkeypatch.chdir(tmp_path)
    line, told = OUTPUTS[name].split("\n", 1)
    with pytest.raises(SystemExit) as done:
        app(shlex.split(line.removeprefix("$ tilth ")), obj=tmp_path)
    assert done.value.code == 0
    assert lines_of(capsys.readouterr().out) == lines_of(told)


def lines_of(text):
    """Lines without those about the tokenizer, which needs a base model."""
    return [line for line in text.rstrip().splitlines() if not line.startswith("tokens a row")]


@pytest.mark.slow
def test_an_output_begins_as_what_a_build_prints(built, tmp_path):
    """Of another, smaller build: the first lines are alike but for their numbers."""
    project = built.copy(tmp_path / "p")
    for name in ("ledger", "preflight", "verify"):
        line, told = OUTPUTS[name].split("\n", 1)
        printed = project.run("python", "-m", "commands", *line.split()[2:])
        assert shape_of(printed) == shape_of(told), name


def shape_of(text):
    """The first line that says something, without its numbers."""
    return " ".join(re.sub(r"[\d,]+", "N", next(line for line in text.splitlines() if line.strip())).split())
