"""Cold start: seconds from `python app.py` to the first page and to the first tile through the API.

    python -m benchmarks.startup [--checkpoint medi-128] [--runs 3]

    --checkpoint  passed on to app.py; default: medi-128
    --runs        fresh processes, one after the other; default: 3
    --timeout     seconds after which a start counts as failed; default: 120

First page: GET / answers 200. First tile: the named endpoint /generate, with its default steps and guidance
and no metadata, has answered a client that calls as soon as the page is up. Both count from the start of the
process. The file cache of the operating system is as it is: after a reboot the first run takes longer. Goals:
8 s to the page and 12 s to the tile on a two-core machine.
"""

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median

from gradio_client import Client

from benchmarks.tables import log, print_table

PAGE_GOAL_SECONDS, TILE_GOAL_SECONDS = 8, 12
POLL_SECONDS = 0.05
APP = Path(__file__).resolve().parent.parent / "app.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="medi-128")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120.0)
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `finally` ends the app too
    pages, tiles = [], []
    for i in range(args.runs):
        page, tile = time_start(args.checkpoint, args.timeout)
        log(f"run {i + 1}: page {page:.1f} s, tile {tile:.1f} s")
        pages.append(page)
        tiles.append(tile)
    rows = [
        ("start → first page", *_cells(pages), f"≤ {PAGE_GOAL_SECONDS}"),
        ("start → first tile by API", *_cells(tiles), f"≤ {TILE_GOAL_SECONDS}"),
    ]
    print_table(("cold start (s)", "median", "min", "max", "runs", "goal"), rows)


def time_start(checkpoint: str, timeout: float) -> tuple[float, float]:
    """Start the app in a process of its own; seconds to (first page, first tile)."""
    port = free_port()
    command = [sys.executable, str(APP), "--port", str(port), "--checkpoint", checkpoint]
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=APP.parent)
        try:
            wait_for_page(f"http://127.0.0.1:{port}/", process, start + timeout)
            page = time.perf_counter() - start
            client = Client(f"http://127.0.0.1:{port}/", verbose=False, analytics_enabled=False)
            (tile,) = client.predict(metadata={}, api_name="/generate")
            assert tile["origin"] == "synthetic", tile
            return page, time.perf_counter() - start
        except (RuntimeError, TimeoutError) as error:
            output.seek(0)
            raise SystemExit(f"{error}; it said:\n{output.read().decode()}") from error
        finally:
            process.terminate()
            process.wait()


def wait_for_page(url: str, process: subprocess.Popen, deadline: float) -> None:
    """Return once GET answers 200."""
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended with exit code {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(POLL_SECONDS)
    raise TimeoutError(f"no page at {url} in time")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _cells(seconds: list[float]) -> tuple[str, str, str, int]:
    return f"{median(seconds):.1f}", f"{min(seconds):.1f}", f"{max(seconds):.1f}", len(seconds)


if __name__ == "__main__":
    main()
