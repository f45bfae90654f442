"""`tilth report`: build report/index.html with all that it needs, print the commit that it is of, and open it.

The page itself does not name the commit: it would differ with every commit, and DVC would build it again each time.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

Open = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser, if there is a screen.")]
Plots = Annotated[bool, typer.Option("--plots", help="Make and open the page of `dvc plots show` as well.")]
PAGE = Path("report/index.html")
# DVC's own page of plots loads its scripts from the web; .dvc/plots/page.html, which .dvc/config names, loads this file
VEGA_SCRIPTS = Path(".dvc/tmp/vega.js")
VEGA_LITE = "5.20"  # the version that the templates of DVC are written in


def main(open_page: Open = True, plots: Plots = False) -> None:
    """Build the report with `dvc repro report` and open it."""
    run_dvc("repro", "report")
    write_vega_scripts()
    pages = [PAGE]
    if plots:
        run_dvc("plots", "show")
        pages.append(Path("dvc_plots/index.html"))
    print(f"{PAGE}: {PAGE.stat().st_size:,} bytes, {commit_in_words()}")
    for page in pages if open_page and has_screen() else []:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def run_dvc(*arguments: str) -> None:
    """Run dvc with this Python first on PATH, as its stages call `python`. Exits with 1 if dvc fails: dvc has said why."""
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], env=os.environ | {"PATH": path})
    if done.returncode:
        raise SystemExit(1)


def write_vega_scripts() -> None:
    """Write Vega's scripts where the page of `dvc plots show` loads them, once per version of vl-convert."""
    import importlib.metadata

    mark = f"// of vl-convert-python {importlib.metadata.version('vl-convert-python')}\n"
    if VEGA_SCRIPTS.exists() and VEGA_SCRIPTS.open(encoding="utf-8").readline() == mark:
        return
    import vl_convert

    VEGA_SCRIPTS.parent.mkdir(parents=True, exist_ok=True)
    partial = VEGA_SCRIPTS.with_suffix(".partial")
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # ty: ignore[missing-argument]  # its stub knows no default
    partial.write_text(mark + bundle, encoding="utf-8")
    partial.replace(VEGA_SCRIPTS)


def commit_in_words() -> str:
    """The commit that the page is of, in words."""
    head = git_text("rev-parse", "--short=12", "HEAD")
    if not head:
        return "of no commit yet"
    return f"of commit {head}" + (" and changes that are not committed" if git_text("status", "--porcelain") else "")


def git_text(*arguments: str) -> str:
    """The output of git; "" if git fails or is missing."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if not done.returncode else ""


def has_screen() -> bool:
    """True if a browser can open: not in CI, not on a server without a display."""
    return sys.stdout.isatty() and (
        sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
    )
