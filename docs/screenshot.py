"""Screenshots of report/index.html by headless Chromium: docs/report.png for the README, or whole pages to look at.

python docs/screenshot.py            # the top of the page, as docs/report.png
python docs/screenshot.py --all DIR  # at 390 and 1280 pixels, light and dark, all of it
"""

import argparse
import shutil
from itertools import product
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Screenshots of report/index.html by headless Chromium.")
    parser.add_argument("--page", type=Path, default=Path("report/index.html"))
    parser.add_argument("--all", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    browser = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        themes: tuple[Literal["light", "dark"], ...] = ("light", "dark") if arguments.all else ("light",)
        for width, theme in product((390, 1280) if arguments.all else (1280,), themes):
            tab = chromium.new_page(viewport={"width": width, "height": 1400}, color_scheme=theme)
            tab.goto(arguments.page.resolve().as_uri())
            if arguments.all:
                arguments.all.mkdir(parents=True, exist_ok=True)
                tab.screenshot(path=arguments.all / f"{width}-{theme}.png", full_page=True)
            else:
                tab.screenshot(path=ROOT / "docs/report.png")
            tab.close()
        chromium.close()


if __name__ == "__main__":
    main()
