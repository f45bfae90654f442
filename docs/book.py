"""Hooks of mkdocs: they add README.md as the first page, and under repository/ each file outside docs/ that a page links to.

A link works in the repository and in the book: `../SECURITY.md` in docs/sharing.md becomes `repository/SECURITY.md` in the
book. A link to a missing file stays unchanged, and `mkdocs build --strict` reports it.
"""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
DATA_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)*data/[^)#]*)\)")  # users may have deleted the sample's data
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
REPOSITORY_PREFIX = "repository/"
# the theme loads this script to search pages that are opened from disk
SEARCH_SHIM = '<script src="https://unpkg.com/iframe-worker/shim"></script>'
# tables of many columns: no table of contents beside them
WIDE_PAGES = ("params.md", "formats.md", "preflight.md", "templates.md")
STACKED_PAGES = WIDE_PAGES[:3]  # on a phone their cells stand below each other


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """The files of docs/, README.md, and all files that pages link to."""
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


def on_page_markdown(markdown: str, page: "Page", **_: object) -> str:
    """The text of a page with the links of the book."""
    if page.file.src_uri in WIDE_PAGES:
        page.meta["hide"] = ["toc"]
    return rewrite_links(markdown, page.file.src_uri)


def on_post_page(output: str, page: "Page | None" = None, **_: object) -> str:
    """A page that loads nothing from the web: the search script is part of it."""
    if page and page.file.src_uri in STACKED_PAGES:
        output = output.replace("<body ", '<body class="stacked" ', 1)
    # GitHub removes the backslash of \| in code too; mkdocs does not
    output = CELL.sub(lambda cell: cell[0].replace("\\|", "|"), output)
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return output.replace(SEARCH_SHIM, f"<script>{script}</script>")


def on_post_template(output: str, **_: object) -> str:
    return on_post_page(output)


def rewrite_links(text: str, page: str) -> str:
    """The text of a page, with its links of the repository replaced by those of the book. page: its path in the book.

    A link to data that is not there becomes plain text.
    """

    def book_link(link: re.Match[str]) -> str:
        target = link_target(page, link[0])
        return posixpath.relpath(site_path(target), posixpath.dirname(page) or ".") if target else link[0]

    text = DATA_LINK.sub(lambda link: link[0] if link_target(page, link[2]) else link[1], text)
    return LINK.sub(book_link, text)


def linked_files(page: str, text: str) -> list[str]:
    """The files of the repository that a page links to."""
    targets = (link_target(page, link) for link in LINK.findall(text))
    return [target for target in targets if target]


def link_target(page: str, link: str) -> str | None:
    """The path in the repository of a link's target, README.md for a folder; None where there is no such file."""
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
