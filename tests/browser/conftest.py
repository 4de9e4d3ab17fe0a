"""The real app with the shipped checkpoint, and a headless Chromium, one of each for all tests of this folder.

Needs Chromium on the path (or CHROMIUM=/path/to/it); nothing is downloaded.
"""

from collections.abc import Iterator

import pytest

from tests.browser.driver import CHROMIUM, FLAGS, open_page, open_state, serve_app


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with serve_app() as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "install Chromium or set CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser, url):
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = open_page(context, url)
    yield page
    context.close()


@pytest.fixture
def quick_page(browser, url):
    """Asks for three tiles in few steps."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    yield open_state(context, url, "generate", "number input for Number of tiles", steps=6, num_tiles=3)
    context.close()


@pytest.fixture
def quick_compare(browser, url):
    """The Compare tab, in few steps."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    yield open_state(context, url, "compare", "First seed", steps=6, seed=2)
    context.close()
