"""A study of toy tiles, the app that serves it, and a reader who talks to it over HTTP as the page does."""

import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medi_core.review.blinding import TILES, ExampleSet, NewItem, PlacedItem, neutral_id
from medi_core.review.review_store import ReviewStore, Study, now
from medi_core.review.study import StudyDesign
from medi_core.services.review import SPECIALITIES

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 600
PNG = b"not really a PNG"


def add_toy_study(store: ReviewStore, num_tiles: int = 4, tasks: tuple[str, ...] = ("realism",)) -> Study:
    """A study of items without pixels, half of them real; for tests of the store."""
    design = StudyDesign("Toy", tasks, num_tiles=num_tiles, num_practice=0)
    study = Study(neutral_id(), design, {}, now(), None)
    kinds = ("real", "synthetic")
    facts = [
        {"origin": kinds[i % 2], "cancer_type": "A", "center": "C", "support": "seen", "case": str(i), "tile": str(i)}
        for i in range(num_tiles)
    ]
    items = [NewItem(PlacedItem(neutral_id(), TILES, False, {}), (PNG,), fact) for fact in facts]
    store.add_study(study, items, [ExampleSet(neutral_id(), (PNG,), ({"origin": "real"},))])
    return study


def new_code() -> str:
    """As the page draws one."""
    return "".join(random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(10))


class RunningReview:
    """The real app with a tiny checkpoint, in a process that can be killed and started again on the same port."""

    def __init__(self, folder: Path, checkpoint: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._log = folder.parent / "app.log"
        self._environment = os.environ | {"MEDI_DATA_DIR": str(folder), "MEDI_CHECKPOINT": str(checkpoint)}
        self._environment |= {"MEDI_DEVICE": "cpu", "PYTHONPATH": str(ROOT)} | environment

    def start(self) -> None:
        deadline, self._process = time.monotonic() + START_SECONDS, self._open()
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"the app ended: {self._log.read_text()[-2000:]}"
            try:
                with urllib.request.urlopen(self.url, timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"no answer within {START_SECONDS} s: {self._log.read_text()[-2000:]}")

    def _open(self) -> subprocess.Popen:
        command = [sys.executable, "app.py", "--port", str(self.port)]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """kill -9"""
        self._process.kill()
        self._process.wait(30)


@dataclass
class HttpReader:
    """A reader's browser without the browser: the calls that review_reader.js makes."""

    url: str
    study: str
    name: str
    component: int
    code: str = ""
    acknowledged: dict[tuple[str, str], Any] = field(default_factory=dict)

    def call(self, function: str, **given: Any) -> dict[str, Any]:
        """Raises OSError where the server does not answer."""
        return json.loads(self.call_raw(function, **given)[1])

    def call_raw(self, function: str, **given: Any) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer."""
        data = {"study": self.study, "reader": self.name, "code": self.code} | given
        body = {"session_hash": self.name, "component_id": self.component, "fn_name": function, "data": data}
        request = urllib.request.Request(
            f"{self.url}gradio_api/component_server",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Accept-Encoding": "gzip, br"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(answer.headers), answer.read()

    def join(self) -> None:
        self.code = new_code()
        assert self.call("review_join", years=7, speciality=SPECIALITIES[0]) == {}


def reader_component(url: str) -> int:
    """The id of the reader's page in the app, as the browser learns it."""
    with urllib.request.urlopen(f"{url}config", timeout=60) as answer:
        components = json.loads(answer.read())["components"]
    (found,) = [c["id"] for c in components if c["props"].get("elem_id") == "review-reader"]
    return found
