"""Many visitors at once: latencies by kind of visit, errors, and whether memory grows.

    python -m benchmarks.load [--minutes 5] [--generating 32] [--mapping 8] [--reviewing 4]

    --checkpoint   passed on to app.py; default: medi-128-fast
    --minutes      how long; the first fifth warms up and is not counted; default: 5
    --generating   visitors who ask for tiles, one after the other; each tenth time one leaves before the answer
    --mapping      visitors who colour the map and click its points
    --reviewing    readers who answer one question after the other
    --num          tiles of a request; default: 8
    --steps        of a request; default: 12

Starts app.py in a process of its own, with a study of its own, and talks to it over HTTP as the pages do. A latency is
from the question to its whole answer, waiting included. "Queue full" is a polite answer (503) and no error; anything
else that is not what was asked for is an error. RSS is the resident memory of the app and its child processes, read
each second and averaged over a fifth of the time, as figures and batches take and give back much within seconds.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.memory import resident_mb
from benchmarks.startup import APP, free_port, wait_for_page
from benchmarks.tables import log, print_table
from medi_core.data.tile_files import encode_blind
from medi_core.review.blinding import TILES, NewItem, PlacedItem, neutral_id
from medi_core.review.review_store import ReviewStore, Study, now
from medi_core.review.study import StudyDesign
from medi_core.services.review import SPECIALITIES

START_SECONDS = 600
QUEUE_FULL = 503
RETRY_SECONDS = 2.0
LEAVES = 10
"""One in so many requests for tiles is left before its answer."""
NUM_STUDY_TILES = 8
WARM_UP = 0.2
"""Of the time: reference set, map and classifier are loaded when they are first needed."""
WINDOWS = {"after warm-up": (WARM_UP, WARM_UP + 0.2), "half way": (0.5, 0.7), "end": (0.8, 1.0)}
"""Shares of the time over which memory is averaged."""
SAMPLE_SECONDS = 1.0
READING_SECONDS = 1.0
"""What a person needs between two answers, at least."""
GENERATE, LEFT, COLOUR, CLICK, REVIEW = "generate", "generate, left", "map: colour", "map: click", "review: answer"


@dataclass
class Results:
    """What visitors met."""

    counts_from: float
    """On the monotonic clock: what was answered before is not counted."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    full: Counter = field(default_factory=Counter)
    errors: Counter = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)

    def note(self, kind: str, start: float, error: str | None) -> None:
        if error == "full":
            self.full[kind] += 1
        elif error:
            self.errors[kind] += 1
            self.texts.add(f"{kind}: {error[:300]}")
        elif time.monotonic() >= self.counts_from:
            self.seconds[kind].append(time.monotonic() - start)


@dataclass(frozen=True)
class Page:
    """What a browser learns of the app when it opens it: numbers of events by name and element."""

    url: str
    config: dict

    def event(self, element: str, trigger: str) -> int:
        """Number of the event that a trigger of an element starts."""
        (component,) = [c["id"] for c in self.config["components"] if c["props"].get("elem_id") == element]
        return next(d["id"] for d in self.config["dependencies"] if [component, trigger] in map(list, d["targets"]))

    def endpoint(self, name: str) -> int:
        """Number of a named endpoint."""
        return next(d["id"] for d in self.config["dependencies"] if d["api_name"] == name)

    def component(self, element: str) -> int:
        return next(c["id"] for c in self.config["components"] if c["props"].get("elem_id") == element)


class Visitor:
    """A session of the app."""

    def __init__(self, page: Page) -> None:
        self.page, self.session = page, uuid.uuid4().hex
        self._http = httpx.AsyncClient(base_url=page.url, timeout=httpx.Timeout(30, read=600))

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, event: int, data: list, leave_after: float | None = None, **more: object) -> str | None:
        """Start an event and wait for its answer; `None`, "full", or what went wrong."""
        try:
            return await self._run(event, data, leave_after, **more)
        except httpx.HTTPError as error:
            await asyncio.sleep(RETRY_SECONDS)
            return f"the connection broke: {error!r}"

    async def _run(self, event: int, data: list, leave_after: float | None, **more: object) -> str | None:
        body = {"data": data, "fn_index": event, "session_hash": self.session} | more
        joined = await self._http.post("/gradio_api/queue/join", json=body)
        if joined.status_code == QUEUE_FULL:
            return "full"
        if joined.status_code != 200:
            return f"{joined.status_code} {joined.text}"
        try:
            async with asyncio.timeout(leave_after):
                return await self._answer(joined.json()["event_id"])
        except TimeoutError:
            return None  # the visitor has left

    async def _answer(self, event_id: str) -> str | None:
        async with self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message.get("event_id") == event_id:
                    return None if message["success"] else str(message["output"].get("error"))
        return "the stream ended without an answer"

    async def ask_component(self, element: str, function: str, data: dict) -> dict:
        """A question of a component's script."""
        body = {"session_hash": self.session, "component_id": self.page.component(element), "fn_name": function}
        try:
            answer = await self._http.post("/gradio_api/component_server", json=body | {"data": data})
        except httpx.HTTPError as error:
            return {"error": f"the connection broke: {error!r}"}
        return answer.json() if answer.status_code == 200 else {"error": f"{answer.status_code} {answer.text}"}


async def generating(page: Page, results: Results, num: int, steps: int, rng: random.Random) -> None:
    """Ask for tiles for ever; leave now and then."""
    while True:
        visitor, start = Visitor(page), time.monotonic()
        leaves = rng.randrange(LEAVES) == 0
        data = [{}, num, rng.randrange(10**6), steps, 2.0, 128, None, [0, 1]]
        error = await visitor.run(page.endpoint("generate"), data, rng.uniform(0.5, 5) if leaves else None)
        results.note(LEFT if leaves else GENERATE, start, error)
        await visitor.close()
        await asyncio.sleep(RETRY_SECONDS if error == "full" else 0)


async def mapping(page: Page, results: Results, rng: random.Random) -> None:
    """See the map, then colour it by one attribute after the other and click points, for ever."""
    visitor, dark = Visitor(page), {"dark": False}
    sight, colour, click = (
        page.event("map-plot", "focus"),
        page.event("map-colour", "input"),
        page.event("map-plot", "click"),
    )
    start = time.monotonic()
    results.note(COLOUR, start, await visitor.run(sight, ["center", None, None, None], event_data=dark))
    for by in itertools.cycle(("cancer_type", "origin", "center")):
        start = time.monotonic()
        results.note(COLOUR, start, await visitor.run(colour, [by, None, None, None, None]))
        await asyncio.sleep(rng.uniform(1, 3))
        start, point = time.monotonic(), str(rng.randrange(1000))
        results.note(CLICK, start, await visitor.run(click, [None, None], event_data={"point": point}))
        await asyncio.sleep(rng.uniform(1, 3))


async def reviewing(page: Page, results: Results, study: str, name: str, rng: random.Random) -> None:
    """Answer every question, then correct them, for ever."""
    visitor = Visitor(page)
    code = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=10))
    who = {"study": study, "reader": name, "code": code}
    joined = await visitor.ask_component(
        "review-reader", "review_join", who | {"years": 7, "speciality": SPECIALITIES[0]}
    )
    if "error" in joined:
        results.note(REVIEW, time.monotonic(), joined["error"])
    for place in itertools.cycle(range(NUM_STUDY_TILES)):
        start = time.monotonic()
        step = await visitor.ask_component("review-reader", "review_step", who | {"place": place})
        if "error" not in step:
            answer = {"item": step["item"], "task": step["task"], "value": rng.randint(1, 5)}
            step = await visitor.ask_component("review-reader", "review_answer", who | answer)
        results.note(REVIEW, start, step.get("error"))
        await asyncio.sleep(READING_SECONDS + rng.random())


async def visit(url: str, study: str, pid: int, args: argparse.Namespace) -> tuple[Results, dict[str, float]]:
    """Let everybody come; what they met, and the app's memory in MB, averaged over each of `WINDOWS`."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        page = Page(url, (await http.get("/config")).json())
    seconds = args.minutes * 60
    start, rng = time.monotonic(), random.Random(0)
    results = Results(start + WARM_UP * seconds)
    visitors = [
        *(generating(page, results, args.num, args.steps, random.Random(rng.random())) for _ in range(args.generating)),
        *(mapping(page, results, random.Random(rng.random())) for _ in range(args.mapping)),
        *(reviewing(page, results, study, f"reader {i}", random.Random(rng.random())) for i in range(args.reviewing)),
    ]
    tasks, memory = [asyncio.create_task(visitor) for visitor in visitors], []
    while (share := (time.monotonic() - start) / seconds) < 1:
        memory.append((share, await asyncio.to_thread(resident_mb, pid)))
        done, _ = await asyncio.wait(tasks, timeout=SAMPLE_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()  # a visitor ends only by a fault
        if len(memory) % 30 == 0:
            log(f"{share:.0%}: {memory[-1][1]:.0f} MB, {sum(map(len, results.seconds.values()))} answers")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return results, window_means(memory)


def window_means(memory: list[tuple[float, float]]) -> dict[str, float]:
    """Mean over each of `WINDOWS`, NaN where nothing was read, of (share of the time, MB)."""
    read = {name: [mb for share, mb in memory if first <= share < last] for name, (first, last) in WINDOWS.items()}
    return {name: float(np.mean(mbs)) if mbs else float("nan") for name, mbs in read.items()}


async def seconds_until_free(url: str) -> float:
    """How long after everybody has left the queue is empty."""
    start = time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        while any((await http.get("/healthz")).json()["queue"].values()):
            await asyncio.sleep(0.1)
    return time.monotonic() - start


def new_study(folder: str) -> str:
    """A study of a few tiles of noise, for it takes a while to make others; its code."""
    design = StudyDesign("Load", ("realism",), num_tiles=NUM_STUDY_TILES, num_practice=0)
    study, rng = Study(neutral_id(), design, {}, now(), None), np.random.default_rng(0)
    facts = {"origin": "synthetic", "cancer_type": "", "center": "", "support": "", "case": "", "tile": ""}
    items = [
        NewItem(
            PlacedItem(neutral_id(), TILES, False, {}),
            (encode_blind(rng.integers(0, 256, (128, 128, 3), np.uint8)),),
            facts,
        )
        for _ in range(NUM_STUDY_TILES)
    ]
    ReviewStore(Path(folder)).add_study(study, items)
    return study.id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="medi-128-fast")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--generating", type=int, default=32)
    parser.add_argument("--mapping", type=int, default=8)
    parser.add_argument("--reviewing", type=int, default=4)
    parser.add_argument("--num", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `finally` ends the app too
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        study = new_study(folder)
        command = [sys.executable, str(APP), "--port", str(port), "--checkpoint", args.checkpoint]
        environment = os.environ | {"MEDI_DATA_DIR": folder}
        app = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=APP.parent, env=environment)
        try:
            wait_for_page(url, app, time.perf_counter() + START_SECONDS)
            results, memory = asyncio.run(visit(url, study, app.pid, args))
            free = asyncio.run(seconds_until_free(url))
        finally:
            ended = app.poll()
            app.terminate()
            app.wait()
            output.seek(0)
            said = output.read().decode()
            if ended is not None:
                log(f"the app ended with exit code {ended}; it said:\n{said[-3000:]}")
        faults = said.count("Traceback")
    for text in sorted(results.texts):
        log(f"error: {text}")
    rows = [
        (kind, len(times), *_percentiles(times), results.full[kind], results.errors[kind])
        for kind in (GENERATE, LEFT, COLOUR, CLICK, REVIEW)
        if (times := results.seconds[kind]) or results.errors[kind]
    ]
    visitors = (
        f"{args.generating} generating, {args.mapping} in the map, {args.reviewing} reviewing, {args.minutes:g} min"
    )
    print_table((visitors, "answers", "p50 (s)", "p95 (s)", "queue full", "errors"), rows)
    print()
    growth = f"{memory['end'] / memory['after warm-up'] - 1:+.1%}"
    cells = (*(f"{mb:.0f}" for mb in memory.values()), growth, "≤ 5 %", f"{free:.1f}", faults)
    print_table(("app", *memory, "growth", "goal", "s until the queue is free", "tracebacks"), [("RSS (MB)", *cells)])


def _percentiles(seconds: list[float]) -> tuple[str, str]:
    return tuple(f"{value:.2f}" for value in np.percentile(seconds, (50, 95))) if seconds else ("–", "–")


if __name__ == "__main__":
    main()
