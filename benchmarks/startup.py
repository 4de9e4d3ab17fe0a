"""Cold start: seconds from `python app.py` to the first page and the first tile through the API, and memory.

    python -m benchmarks.startup [--checkpoint medi-128-fast] [--runs 3] [--callers 4]

    --checkpoint  passed on to app.py; default: medi-128-fast
    --runs        fresh processes, one after the other; default: 3
    --timeout     seconds after which a start counts as failed; default: 120
    --callers     clients that then ask for tiles at the same time; default: 4, 0 = none
    --num         tiles that each of them asks for; default: 8

First page: GET / answers 200. First tile: the named endpoint /generate, with its default steps and guidance
and no metadata, has answered a client that calls as soon as the page is up. Both count from the start of the
process. The file cache of the operating system is as it is: after a reboot the first run takes longer. Goals:
8 s to the page and 12 s to the tile on a two-core machine.

Memory: resident, of the app and its child processes, on Linux: after the first page, after the first tile, the most
while all callers wait for their tiles (looked at ten times a second), and the most at any time as Linux noted it.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gradio_client import Client

from benchmarks.memory import MemoryWatch, highest_mb, resident_mb
from benchmarks.tables import log, print_table

PAGE_GOAL_SECONDS, TILE_GOAL_SECONDS = 8, 12
POLL_SECONDS = 0.05
APP = Path(__file__).resolve().parent.parent / "app.py"


@dataclass(frozen=True)
class Start:
    """One fresh process; times in seconds from its start, memory in MB."""

    page_seconds: float
    tile_seconds: float
    page_mb: float
    tile_mb: float
    load_mb: float | None
    """`None` without callers."""
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="medi-128-fast")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--num", type=int, default=8)
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `finally` ends the app too
    starts = []
    for i in range(args.runs):
        starts.append(measure_start(args.checkpoint, args.timeout, args.callers, args.num))
        log(f"run {i + 1}: {starts[-1]}")
    print_table(("cold start (s)", "median", "min", "max", "runs", "goal"), time_rows(starts))
    print()
    print_table(("resident memory (MB)", "median", "min", "max", "runs"), memory_rows(starts, args.callers, args.num))


def time_rows(starts: Sequence[Start]) -> list[tuple[object, ...]]:
    """Seconds, with the goals."""
    return [
        ("start → first page", *_cells([s.page_seconds for s in starts], 1), f"≤ {PAGE_GOAL_SECONDS}"),
        ("start → first tile by API", *_cells([s.tile_seconds for s in starts], 1), f"≤ {TILE_GOAL_SECONDS}"),
    ]


def memory_rows(starts: Sequence[Start], callers: int, num: int) -> list[tuple[object, ...]]:
    """Megabytes, in the order in which they are met."""
    rows = [
        ("after the first page", [s.page_mb for s in starts]),
        ("after the first tile", [s.tile_mb for s in starts]),
    ]
    if callers:
        load = [s.load_mb for s in starts if s.load_mb is not None]
        rows.append((f"most while {callers} callers wait for {num} tiles each", load))
    rows.append(("most at any time", [s.peak_mb for s in starts]))
    return [(name, *_cells(values, 0)) for name, values in rows]


def measure_start(checkpoint: str, timeout: float, callers: int, num: int) -> Start:
    """Start the app in a process of its own, ask it for a tile, then for many at once."""
    port = free_port()
    command = [sys.executable, str(APP), "--port", str(port), "--checkpoint", checkpoint]
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=APP.parent)
        try:
            return _measure(process, start, timeout, f"http://127.0.0.1:{port}/", callers, num)
        except (RuntimeError, TimeoutError) as error:
            output.seek(0)
            raise SystemExit(f"{error}; it said:\n{output.read().decode()}") from error
        finally:
            process.terminate()
            process.wait()


def _measure(process: subprocess.Popen, start: float, timeout: float, url: str, callers: int, num: int) -> Start:
    wait_for_page(url, process, start + timeout)
    page, page_mb = time.perf_counter() - start, resident_mb(process.pid)
    client = Client(url, verbose=False, analytics_enabled=False)
    (tile,) = client.predict(metadata={}, api_name="/generate")
    assert tile["origin"] == "synthetic", tile
    tile_seconds, tile_mb = time.perf_counter() - start, resident_mb(process.pid)
    load_mb = None
    if callers:
        with MemoryWatch(process.pid) as load:
            _ask_at_once(url, callers, num)
        load_mb = load.highest_mb
    return Start(page, tile_seconds, page_mb, tile_mb, load_mb, highest_mb(process.pid))


def _ask_at_once(url: str, callers: int, num: int) -> None:
    """All callers ask for tiles of seeds of their own and get them."""

    def ask(caller: int) -> int:
        client = Client(url, verbose=False, analytics_enabled=False)
        return len(client.predict(metadata={}, num=num, seed=caller * num, api_name="/generate"))

    with ThreadPoolExecutor(callers) as pool:
        assert list(pool.map(ask, range(callers))) == [num] * callers


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


def _cells(values: list[float], digits: int) -> tuple[str, str, str, int]:
    """Median, least and most, and how many."""
    median_, least, most = (f"{value:,.{digits}f}" for value in (median(values), min(values), max(values)))
    return median_, least, most, len(values)


if __name__ == "__main__":
    main()
