"""What mkdocs adds to docs/: README.md as the first page, and below repository/ each file outside of docs/ that a page links to.

One link serves both readers: `../SECURITY.md` of docs/sharing.md is right where it is read in the repository, and becomes
`repository/SECURITY.md` in the book. A link that leads to no file stays as it is, and `mkdocs build --strict` says so.
"""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
DATA_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)*data/[^)#]*)\)")  # which their user may have deleted
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
REPOSITORY_PREFIX = "repository/"
SEARCH_SHIM = (
    '<script src="https://unpkg.com/iframe-worker/shim"></script>'  # with which the theme searches pages on disk
)
WIDE_PAGES = (
    "params.md",
    "formats.md",
    "preflight.md",
    "templates.md",
)  # tables of many columns: no table of contents beside them
STACKED_PAGES = WIDE_PAGES[:3]  # on a phone their rows are read cell by cell


def on_files(files: "Files", config) -> "Files":
    """The files of docs/ with README.md, and with all that pages lead to."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    pages = [file for file in files if file.is_documentation_page()]
    while pages:
        page = pages.pop()
        for linked in linked_files(page.src_uri, page.content_string):
            place = site_path(linked)
            if place.startswith(REPOSITORY_PREFIX) and not files.get_file_from_path(place):
                file = File.generated(config, place, abs_src_path=str(ROOT / linked))
                files.append(file)
                pages += [file] if file.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """The text of a page with its links as they are in the book."""
    if page.file.src_uri in WIDE_PAGES:
        page.meta["hide"] = ["toc"]
    return rewrite_links(markdown, page.file.src_uri)


def on_post_page(output: str, page=None, **_) -> str:
    """A page that loads nothing from the web: what searches it on disk is in it."""
    if page and page.file.src_uri in STACKED_PAGES:
        output = output.replace("<body ", '<body class="stacked" ', 1)
    output = CELL.sub(
        lambda cell: cell[0].replace("\\|", "|"), output
    )  # GitHub takes the backslash away in code, too; mkdocs does not
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return output.replace(SEARCH_SHIM, f"<script>{script}</script>")


def on_post_template(output: str, **_) -> str:
    return on_post_page(output)


def rewrite_links(text: str, page: str) -> str:
    """Links of a page in the repository -> links of its page in the book. page: its path in the book."""

    def moved(link: re.Match) -> str:
        linked = link_target(page, link[0])
        return posixpath.relpath(site_path(linked), posixpath.dirname(page) or ".") if linked else link[0]

    there = DATA_LINK.sub(lambda link: link[0] if link_target(page, link[2]) else link[1], text)
    return LINK.sub(moved, there)


def linked_files(page: str, text: str) -> list[str]:
    """The files of the repository that a page leads to."""
    found = (link_target(page, link) for link in LINK.findall(text))
    return [linked for linked in found if linked]


def link_target(page: str, link: str) -> str | None:
    """The path in the repository that a link of a page leads to, a folder's README.md for a folder; None where there is none."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source_path(page)), link))
    if path.startswith(".."):
        return None
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    return path if (ROOT / path).is_file() else None


def source_path(page: str) -> str:
    """The path in the repository of a page of the book."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix(REPOSITORY_PREFIX) if page.startswith(REPOSITORY_PREFIX) else f"docs/{page}"


def site_path(path: str) -> str:
    """The path in the book of a file of the repository."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{REPOSITORY_PREFIX}{path}"
