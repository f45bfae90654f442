"""The README says what is so: every key of params.yaml, every room, and the commands that exist."""

import doctest
import re
import tomllib
from pathlib import Path

import make_sample
import pytest
from conftest import small_project
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from commands import recommend
from validators.params import Base, Curate, Dataset, Evaluate, Params, Step, read

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_key_of_params():
    for model in (Params, Base, Curate, Dataset, Step, Evaluate):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in README, name


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        if link.startswith("data/"):
            continue  # the data are their user's to delete
        assert (ROOT / link).exists(), link


def test_make_has_the_commands_that_the_readme_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)):
        assert f"\n{target}:" in makefile


def pins(name):
    """{package: version} of a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-next.txt"])
def test_a_set_of_versions_is_in_the_ranges_of_the_project_and_in_the_readme(name):
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {canonicalize_name(package): version for package, version in pins(name).items()}
    asked = [Requirement(line) for line in wanted]
    assert {each.name for each in asked if canonicalize_name(each.name) not in found} == set()
    assert [str(each) for each in asked if found[canonicalize_name(each.name)] not in each.specifier] == []
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    told = [cell.strip() for cell in row.split("|")[2:6]]
    assert told == [found[package] for package in ("trl", "transformers", "datasets", "torch")]


def test_the_two_sets_differ_in_what_trl_brings_along_alone():
    default, following = pins("constraints.txt"), pins("constraints-next.txt")
    differ = {name for name in default.keys() & following.keys() if default[name] != following[name]}
    assert differ == {"trl", "transformers", "datasets", "huggingface_hub"}
    assert not [name for name in following if "unsloth" in name]


def test_the_readme_shows_a_real_build_and_a_real_reject():
    build = README.split("<!-- build -->")[1].split("<!-- /build -->")[0]
    reject = README.split("<!-- reject -->")[1].split("<!-- /reject -->")[0]
    assert "ingest chat:" in build and "train sft:" in build and "evaluate align:" in build
    source, line = re.search(r"(data/raw/\S+?):(\d+)", reject).groups()
    raw = make_sample.sample_files()[source.removeprefix("data/raw/")].splitlines()[int(line) - 1]
    assert raw in reject


def test_the_page_of_methods_says_what_tilth_recommend_says():
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    for method in recommend.WHY:
        row = next(line for line in page.splitlines() if line.startswith(f"| {method.upper()} |"))
        assert recommend.WHY[method] in row and recommend.TRADE_OFFS[method] in row
        assert f"### {method.upper()}: " in page


def test_the_comparison_of_methods_is_one_source_and_one_start():
    recipe = YAML(typ="safe", pure=True).load(ROOT / "recipes/compare.yaml")
    assert len({dataset["raw"] for dataset in recipe["datasets"].values()}) == 1
    assert [step["method"] for step in recipe["steps"].values()] == ["sft", "dpo", "orpo", "kto", "grpo"]
    assert [step["from"] for step in recipe["steps"].values()] == ["base", "sft", "sft", "sft", "sft"]


def test_the_comparison_of_methods_passes_check(monkeypatch, tmp_path):
    from stages.check import check

    make_sample.write(tmp_path / "data/raw")
    (tmp_path / "params.yaml").write_bytes((ROOT / "recipes/compare.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert all(warning.waived for warning in check(read()))


def commands_of(text):
    """(command, what it prints) of each `$ command` in the console blocks of a text."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [re.split("\n", told, maxsplit=1) for block in blocks for told in re.split(r"(?m)^\$ ", block)[1:]]


@pytest.mark.slow
@pytest.mark.timeout(2400)  # a build and its rebuild
@pytest.mark.parametrize(
    "up_to",  # the story builds scores and the report itself, and asks for none before that
    [pytest.param(("train@align",), id="models"), pytest.param((), id="all", marks=pytest.mark.long)],
)
def test_the_story_of_the_audit_is_what_its_commands_print(tmp_path, up_to):
    page = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    story = page.split("<!-- story -->")[1].split("<!-- /story -->")[0]
    project = small_project(tmp_path, rows=None)
    project.repro(*up_to)
    project.commit()
    tilth = 'export COLUMNS=110; tilth() { python -m commands "$@"; }\n'
    found = commands_of(story)
    assert len(found) > 5
    for command, expected in found:
        told = project.run("bash", "-c", tilth + command)
        alike = doctest.OutputChecker().check_output(expected, told, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert alike, f"{command}\n--- the page says\n{expected}\n--- it prints\n{told}"
