"""The book of docs/: links serve the reader of the repository and of the book, every page has its place, nothing is loaded from the web."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from docs.book import LINK, link_target, linked_files, rewrite_links, site_path, source_path

ROOT = Path(__file__).parents[1]
PAGES = ["index.md", *(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))]
OUTSIDE = [
    "repository/SECURITY.md",
    "repository/CONTRIBUTING.md",
    "repository/recipes/README.md",
    "repository/benchmarks/RESULTS.md",
]


def pages_of(nav):
    """Every page that a part of the nav names."""
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else (entry,):
            yield from pages_of(value) if isinstance(value, list) else (value,)


@pytest.mark.parametrize(
    ("page", "link", "moved"),
    [
        ("index.md", "docs/audit.md", "audit.md"),
        ("index.md", "SECURITY.md", "repository/SECURITY.md"),
        ("sharing.md", "audit.md", "audit.md"),
        ("sharing.md", "../SECURITY.md", "repository/SECURITY.md"),
        ("tutorial.md", "../README.md", "index.md"),
        ("gpu.md", "../recipes/", "repository/recipes/README.md"),
        ("commands/check.md", "../params.md", "../params.md"),
        ("repository/SECURITY.md", "docs/sharing.md", "../sharing.md"),
        ("repository/benchmarks/RESULTS.md", "../docs/results.md", "../../results.md"),
        ("sharing.md", "no_such_file.md", "no_such_file.md"),
        ("sharing.md", "../../outside.md", "../../outside.md"),
    ],
)
def test_a_link_leads_to_the_same_file_in_the_book(page, link, moved):
    assert rewrite_links(f"see [it]({link}), [it]({link}#part)", page) == f"see [it]({moved}), [it]({moved}#part)"


def test_a_link_to_data_that_their_user_deleted_is_its_text():
    assert (
        rewrite_links("of [data/real](../data/none/README.md), [x](params.md)", "gpu.md")
        == "of data/real, [x](params.md)"
    )


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE])
def test_every_link_leads_to_a_file(page):
    text = (ROOT / source_path(page)).read_text(encoding="utf-8")
    lost = [link for link in LINK.findall(text) if not link_target(page, link)]
    assert [link for link in lost if "data/" not in link] == []  # the data are their user's to delete


def test_the_paths_of_a_page_in_the_repository_and_in_the_book_are_each_others():
    for page in [*PAGES, *OUTSIDE]:
        assert site_path(source_path(page)) == page
    assert "SECURITY.md" in linked_files("sharing.md", (ROOT / "docs/sharing.md").read_text(encoding="utf-8"))


def test_every_page_has_one_place_in_the_book():
    nav = list(pages_of(YAML(typ="safe", pure=True).load(ROOT / "mkdocs.yml")["nav"]))
    assert sorted(page for page in nav if not page.startswith("repository/")) == sorted(PAGES)
    for page in nav:
        assert (ROOT / source_path(page)).is_file(), page


@pytest.mark.slow
def test_the_book_is_built_without_a_warning_and_loads_nothing_from_the_web(tmp_path):
    pytest.importorskip("material", reason="pip install -c constraints.txt -e '.[docs]'; make docs does")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index.html", "params.html", "commands/ledger.html", "repository/SECURITY.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert not re.findall(
            r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+(?:stylesheet|preconnect)[^>]+https?:", text
        ), page
