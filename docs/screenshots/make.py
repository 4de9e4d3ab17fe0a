"""Screenshots of every tab, light and dark, desktop and phone: `python -m docs.screenshots.make`; needs Chromium."""

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.driver import CHROMIUM, FLAGS, RUN_MS, open_page, serve_app, visit_tabs

FOLDER = Path(__file__).parent
README_PICTURE = FOLDER.parents[1] / "assets" / "screenshot.png"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
MAX_BYTES = 120_000
SETTLED_MS = 2000
"""Until a tab stands still: what is measured when it comes into sight has arrived."""


def main() -> None:
    """All of them, into this folder, and that of the README. No tile shown is real: the app is started without any."""
    with (
        tempfile.TemporaryDirectory() as data,
        serve_app(MEDI_DATA_DIR=data, MEDI_TILES="") as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        for size, (width, height) in SIZES.items():
            for scheme in SCHEMES:
                viewport = {"width": width, "height": height}
                context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
                # a run in Compare, so that its grid is not empty: four tiles
                page = open_page(context, f"{url}?__theme={scheme}&tab=compare&row_attribute=none")
                page.locator("#compare-button").click(timeout=RUN_MS)
                page.get_by_text("same seeds in every cell").wait_for(timeout=RUN_MS)
                page.get_by_role("tab", name="Generate").click()
                page.locator("#generate-gallery img").first.click()
                page.wait_for_selector("#generate-large img", timeout=RUN_MS)
                for names in visit_tabs(page):
                    page.wait_for_timeout(SETTLED_MS)
                    page.evaluate("scrollTo(0, 0)")
                    name = "-".join(filter(None, names)).lower().replace(" ", "-")
                    png = page.screenshot()
                    save(png, FOLDER / f"{name}-{size}-{scheme}.jpg")
                    if (name, size, scheme) == ("generate", "desktop", "light"):
                        Image.open(io.BytesIO(png)).convert("RGB").quantize().save(README_PICTURE, optimize=True)
                context.close()
        browser.close()


def save(png: bytes, path: Path) -> None:
    """As the best JPEG of at most `MAX_BYTES`."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in range(85, 20, -10):
        image.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            return
    raise ValueError(f"{path.name} is larger than {MAX_BYTES} bytes at any quality")


if __name__ == "__main__":
    main()
