"""The README says what is so: every key of params.yaml, every room, and the commands that exist."""

import re
from pathlib import Path

from validators.params import Base, Curate, Dataset, Evaluate, Params, Step

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
        assert (ROOT / link).exists(), link


def test_make_has_the_commands_that_the_readme_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)):
        assert f"\n{target}:" in makefile


def test_the_readme_shows_a_real_build_and_a_real_reject():
    build = README.split("<!-- build -->")[1].split("<!-- /build -->")[0]
    reject = README.split("<!-- reject -->")[1].split("<!-- /reject -->")[0]
    assert "ingest chat:" in build and "train sft:" in build and "evaluate align:" in build
    source, line = re.search(r"(data/raw/\S+?):(\d+)", reject).groups()
    raw = (ROOT / source).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert raw in reject
