"""README and docs say what is so: the commands that exist, links that lead somewhere, params that pass, a build as it is."""

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
from validators.params import read_params_yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")}


def test_a_stranger_reads_the_readme_to_its_end():
    assert len(README.splitlines()) <= 120


def test_the_readme_leads_to_every_page_but_those_of_single_commands():
    for path in PAGES:
        if not path.startswith("docs/commands/") or path.endswith("index.md"):
            assert f"]({path})" in README, path


def test_the_params_of_the_readme_are_complete_and_pass(monkeypatch, tmp_path):
    from stages.check import check

    (tmp_path / "data/raw/mine").mkdir(parents=True)
    (tmp_path / "data/raw/mine/a.jsonl").write_text(
        '{"prompt": "Name a game.", "completion": "Chess."}\n', encoding="utf-8"
    )
    block = README.split("<!-- params -->")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "params.yaml").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert all(warning.waived for warning in check(read_params_yaml()))


def test_make_has_the_commands_that_readme_and_docs_say():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path, text in {"README.md": README, **PAGES}.items():
        for target in set(re.findall(r"(?:^\$ |&& |`)make ([a-z][\w-]*)", text, re.MULTILINE)):
            assert f"\n{target}:" in makefile, (path, target)


def pins(name):
    """{package: version} of a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-next.txt"])
def test_a_set_of_versions_is_in_the_ranges_of_the_project_and_on_the_page(name):
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {canonicalize_name(package): version for package, version in pins(name).items()}
    asked = [Requirement(line) for line in wanted]
    assert {each.name for each in asked if canonicalize_name(each.name) not in found} == set()
    assert [str(each) for each in asked if found[canonicalize_name(each.name)] not in each.specifier] == []
    row = next(line for line in PAGES["docs/gpu.md"].splitlines() if line.startswith(f"| `{name}`"))
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
    assert all(warning.waived for warning in check(read_params_yaml()))


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


def test_the_reward_of_the_page_pays_for_solutions_alone():
    names = {}
    exec(PAGES["docs/rewards.md"].split("```python\n")[1].split("```")[0], names)
    answers = {
        "(67 - 56) * (79 - 39) / 4": 0.0,  # a number of its own
        "79 + 67 - 56 - 39": 0.0,  # 51
        "77": 0.0,  # the target alone
        "56 - 39 + 79 - 67 + 48 - 0": 0.0,
        "((67 + 79) - 39) - 56": 1.0,
        "<think>51 = 67</think> 67 + 79 - 39 - 56": 1.0,
        "__import__('os').getcwd()": 0.0,
        "": 0.0,
    }
    for text, reward in answers.items():
        turns = [{"role": "assistant", "content": text}]
        target = "51" if reward or text == "77" else "77"
        assert names["countdown"]([turns], ground_truth=[target], nums=["[67, 79, 39, 56]"]) == [reward], text
    assert names["countdown"](["9 * 7"], ground_truth=["63"], nums=[[7, 9]]) == [1.0]


def test_the_functions_of_the_page_are_those_of_the_code():
    from validators.params import public_functions

    rows = [line for line in PAGES["docs/rewards.md"].splitlines() if line.startswith("| `validators/")]
    for row, module in zip(rows, ("rewards.py", "metrics.py"), strict=True):
        assert re.findall(r"`(\w+)`", row.split("|")[2]) == public_functions(module)
