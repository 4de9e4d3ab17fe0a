"""The real app with the shipped checkpoint, and a headless Chromium, one of each for all tests of this folder.

Needs Chromium on the path (or CHROMIUM=/path/to/it); nothing is downloaded.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.driver import open_page

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
START_SECONDS = 180


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT)
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, app)
        yield address
    finally:
        app.terminate()
        app.wait(30)


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


def wait_for(address: str, app: subprocess.Popen) -> None:
    """Until the app answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert app.poll() is None, f"the app ended with {app.returncode}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no answer within {START_SECONDS} s")
