"""Start the app, look at every tab in Chromium, and print as JSON whatever was asked of anybody but the app itself.

Run by tests/browser/test_offline.py in a network of its own, which has a loopback and nothing else.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.driver import CHROMIUM, FLAGS, ROOT, open_page, wait_for

PORT = 8399
URL = f"http://127.0.0.1:{PORT}/"
WATCH = """
import os, sys
def hook(event, args):
    if event == "socket.connect":
        host = args[1][0] if isinstance(args[1], tuple) else ""
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host and str(host) not in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{event} {host}\\n")
sys.addaudithook(hook)
"""
"""Run before anything else in the app's process: whom it tries to reach."""
TAB_MS = 1500


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(WATCH)
        watched = Path(folder) / "watched"
        path = os.pathsep.join((folder, str(ROOT)))
        environment = os.environ | {"PYTHONPATH": path, "WATCHED": str(watched), "MEDI_DATA_DIR": folder}
        app = subprocess.Popen([sys.executable, "app.py", "--port", str(PORT)], cwd=ROOT, env=environment, stdout=2)
        try:
            wait_for(URL, app)
            seen = visit()
            with urllib.request.urlopen(f"{URL}healthz", timeout=10) as answer:
                seen["health"] = json.loads(answer.read())["status"]
        finally:
            app.terminate()
            app.wait(30)
        seen["reached_for"] = sorted(set(watched.read_text().splitlines())) if watched.exists() else []
    sys.stdout.write(json.dumps(seen))


def visit() -> dict:
    """What the page asked for elsewhere, what it did not get, what it complained of, and the tabs that were opened."""
    asked, failed, errors, tabs = [], [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        context = browser.new_context(viewport={"width": 1440, "height": 1000})
        context.on("request", lambda request: asked.append(request.url))
        context.on("requestfailed", lambda request: failed.append(f"{request.failure} {request.url}"))
        context.on("response", lambda got: failed.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        page = open_page(context, URL)
        for tab in page.get_by_role("tab").all():
            tab.click()
            tabs.append(tab.inner_text())
            page.wait_for_timeout(TAB_MS)
            if tabs[-1] in ("Map", "Subgroup accuracy"):
                page.locator(".medi-plot[data-drawn]:visible").first.wait_for(timeout=60_000)
        browser.close()
    # the stream of messages is closed when all that was waited for has come, or the page goes
    streams = ("queue/data", "heartbeat/")
    return {
        "tabs": tabs,
        "elsewhere": [url for url in asked if not url.startswith((URL, "data:", "blob:"))],
        "failed": [text for text in failed if not ("ERR_ABORTED" in text and any(name in text for name in streams))],
        "errors": errors,
        "num_requests": len(asked),
    }


if __name__ == "__main__":
    main()
