"""What the browser tests do with the app and a page, over and over."""

import base64
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from medi_core.ui.app import TABS
from medi_core.ui.fidelity_tab import VIEWS as FIDELITY_VIEWS
from medi_core.ui.subgroup_tab import VIEWS as SUBGROUP_VIEWS

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
INNER_TABS = {
    "fidelity": [label for label, _ in FIDELITY_VIEWS],
    "subgroups": [label for label, _ in SUBGROUP_VIEWS.values()],
}
DRAWN = (  # the experiment's is drawn when one was run; on a phone a figure stands below the fold until it is shown
    "[...document.querySelectorAll('.medi-plot')].every(plot => !plot.offsetParent || plot.dataset.drawn "
    "|| plot.closest('#experiment-plot') || plot.scrollIntoView())"
)
SETTLED = """() => {  // nothing is pale, as Gradio makes what is about to be replaced, and was not for a moment
    if ([...document.querySelectorAll('.pending')].some(e => e.offsetParent)) window.quietSince = Date.now();
    return Date.now() - window.quietSince > 800;
}"""
START_SECONDS = 180
RUN_MS = 180_000
"""Longest wait for what the model makes."""


@contextmanager
def serve_app(**environment: str) -> Iterator[str]:
    """The real app with the shipped checkpoint on a free port, in a process of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    app = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, app)
        yield address
    finally:
        app.terminate()
        app.wait(30)


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


def open_page(context, url: str):
    page = context.new_page()
    page.goto(url)
    page.locator("#generate-button").wait_for(timeout=60_000)
    return page


def open_state(context, url: str, tab: str, label: str, **controls: int):
    """The page as a link opens it, once it has arrived: few tiles and steps are as good where looks do not matter.

    Args:
        label: `aria-label` of the number that is set by the last of `controls`, to another value than it starts with.
    """
    page = context.new_page()
    page.goto(f"{url}?{urlencode({'tab': tab} | controls)}")
    value = str(list(controls.values())[-1])
    page.wait_for_function(
        "([label, value]) => [...document.querySelectorAll('input')]"
        ".some(input => input.ariaLabel === label && input.value === value)",
        arg=[label, value],
        timeout=60_000,
    )
    return page


def visit_tabs(page) -> Iterator[tuple[str, str | None]]:
    """Opens each tab, and each tab inside it, and yields its names once its figures are drawn."""
    for key, (label, _) in TABS.items():
        page.get_by_role("tab", name=label, exact=True).click()
        for inner in INNER_TABS.get(key, [None]):
            if inner:
                page.get_by_role("tab", name=inner, exact=True).click()
            page.wait_for_timeout(200)
            page.wait_for_function(DRAWN, timeout=RUN_MS)
            page.evaluate("window.quietSince = Date.now()")
            page.wait_for_function(SETTLED, timeout=RUN_MS)
            yield label, inner


def click_download(page, name: str) -> None:
    page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first.click()


def wait_for_text(page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)",
        arg=[selector, text],
        timeout=RUN_MS,
    )


def pixels(page, image) -> np.ndarray:
    """The image as the browser got it, uint8 `(H, W, 3)`."""
    body = page.request.get(source).body() if (source := image.get_attribute("src")).startswith("http") else None
    if body is None:
        body = base64.b64decode(source.split(",", 1)[1])
    with Image.open(io.BytesIO(body)) as opened:
        assert opened.format == "PNG", "tiles must reach a person lossless"
        return np.asarray(opened.convert("RGB"))
