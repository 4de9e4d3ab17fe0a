"""The queue: who leaves makes room, at once; a full one says so; one visitor does not fill it."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import httpx
import pytest

from medi_core.services.generation_request import GenerationRequest
from medi_core.ui.guarded_blocks import MAX_WAITING, MAX_WAITING_OF_ADDRESS, MAX_WAITING_OF_MCP, MAX_WAITING_OF_SESSION
from medi_core.ui.shared import GPU_QUEUE, LOOK_QUEUE, LOOKS_AT_ONCE, RUNS_AT_ONCE

LONG = [{}, 64, 0, 50, 1.0, 128, None, [0, 1]]
"""64 tiles in 50 steps."""
NOTICED_SECONDS = 15
"""Gradio looks for clients that left every 10 s at the latest."""


@pytest.fixture
def model(running_app, monkeypatch) -> Iterator[threading.Event]:
    """The model, held until the event is set, and empty afterwards; it reports as it does in a run."""
    service, go_on, plain = (
        running_app.services.generation,
        threading.Event(),
        running_app.services.generation._on_device,
    )

    def held(request: GenerationRequest):
        for report in plain(request):
            while not go_on.is_set() and not report.tiles:
                time.sleep(0.01)
                yield report
            yield report

    monkeypatch.setattr(service, "_on_device", held)
    yield go_on
    go_on.set()
    wait_until(lambda: not any(running_app.blocks.occupancy().values()), 30)


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


class Visitor:
    """A page that asks for tiles, and its stream of messages."""

    def __init__(self, running_app, address: str = "127.0.0.1") -> None:
        self.session, self._app = uuid.uuid4().hex, running_app
        self._http = httpx.Client(base_url=running_app.url, timeout=60, headers={"X-Forwarded-For": address})
        (self._fn,) = [fn._id for fn in running_app.blocks.fns.values() if fn.api_name == "generate"]
        self._stream = None

    def ask(self, data: list) -> httpx.Response:
        body = {"data": data, "fn_index": self._fn, "session_hash": self.session}
        return self._http.post("/gradio_api/queue/join", json=body)

    def listen(self) -> None:
        self._stream = self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session})
        self._stream.__enter__()

    def answer(self) -> dict:
        """What the run answered."""
        self.listen_once = self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session})
        with self.listen_once as stream:
            for line in stream.iter_lines():
                if line.startswith("data:") and (message := json.loads(line[5:]))["msg"] == "process_completed":
                    return message
        raise AssertionError("the stream ended without an answer")

    def leave(self) -> None:
        self._http.close()


def test_who_leaves_frees_the_queue_waiting_or_running(running_app, model):
    visitors = [Visitor(running_app) for _ in range(RUNS_AT_ONCE + 2)]
    for visitor in visitors:
        assert visitor.ask(LONG).status_code == 200
        visitor.listen()
    wait_until(lambda: running_app.blocks.occupancy() == {"waiting": 2, "running": RUNS_AT_ONCE}, 10)
    visitors[-1].leave()
    wait_until(lambda: running_app.blocks.occupancy() == {"waiting": 1, "running": RUNS_AT_ONCE}, NOTICED_SECONDS)
    visitors[0].leave()  # a run that has the model
    wait_until(lambda: running_app.blocks.occupancy() == {"waiting": 0, "running": RUNS_AT_ONCE}, NOTICED_SECONDS)
    for visitor in visitors[1:-1]:
        visitor.leave()
    wait_until(lambda: running_app.blocks.occupancy() == {"waiting": 0, "running": 0}, NOTICED_SECONDS)


def test_a_full_queue_says_so_politely_and_stops_nothing_else(running_app, model):
    one = [{}, 1, 0, 1, 1.0, 128, None, [0, 1]]
    answers = [Visitor(running_app, f"10.0.0.{i}").ask(one) for i in range(MAX_WAITING + RUNS_AT_ONCE + 3)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 3 <= len(refused) <= 3 + RUNS_AT_ONCE  # the first ones may have left the queue for the model, or not yet
    assert {answer.status_code for answer in refused} == {503}
    assert refused[0].json()["detail"].startswith(f"The queue is full: {MAX_WAITING} runs are waiting.")
    assert "try again" in refused[0].json()["detail"]
    other = Visitor(running_app)
    other._fn = next(fn._id for fn in running_app.blocks.fns.values() if fn.api_name == "info")
    assert other.ask([]).status_code == 200, "what needs no model does not wait for it"
    assert other.answer()["success"]


def test_ever_new_sessions_of_one_address_do_not_fill_the_queue(running_app, model):
    one = [{}, 1, 0, 1, 1.0, 128, None, [0, 1]]
    answers = [Visitor(running_app, "10.0.0.1").ask(one) for _ in range(MAX_WAITING_OF_ADDRESS + RUNS_AT_ONCE + 3)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 3 <= len(refused) <= 3 + RUNS_AT_ONCE  # the first ones may have left the queue for the model, or not yet
    assert {answer.status_code for answer in refused} == {503}
    assert "runs from your network are waiting already" in refused[0].json()["detail"]
    assert Visitor(running_app, "10.0.0.2").ask(one).status_code == 200


def test_mcp_clients_share_a_session_that_has_more_places(running_app, model, monkeypatch):
    inside = Visitor(running_app)
    client = SimpleNamespace(session_hash=inside.session)
    server = SimpleNamespace(_client_instance=client, postprocess_output_data=lambda data, _root_url: data)
    monkeypatch.setattr(running_app.blocks, "mcp_server_obj", server)
    one = [{}, 1, 0, 1, 1.0, 128, None, [0, 1]]
    answers = [inside.ask(one) for _ in range(MAX_WAITING_OF_MCP + RUNS_AT_ONCE + 1)]
    assert [answer.status_code for answer in answers[:MAX_WAITING_OF_MCP]] == [200] * MAX_WAITING_OF_MCP
    assert answers[-1].status_code == 503
    assert "runs of MCP clients are waiting already" in answers[-1].json()["detail"]


def test_looks_at_tiles_leave_threads_for_the_rest_of_the_page(running_app):
    looks = [fn for fn in running_app.blocks.fns.values() if fn.concurrency_id == LOOK_QUEUE]
    assert len(looks) >= 4
    assert {fn.concurrency_limit for fn in looks} == {LOOKS_AT_ONCE}
    assert LOOKS_AT_ONCE <= 10


def test_runs_of_the_model_share_it_a_few_at_a_time(running_app):
    runs = [fn for fn in running_app.blocks.fns.values() if fn.concurrency_id == GPU_QUEUE]
    limits = {fn.concurrency_limit for fn in runs if isinstance(fn.concurrency_limit, int)}
    assert len(runs) >= 8
    assert limits == {RUNS_AT_ONCE}
    assert RUNS_AT_ONCE + LOOKS_AT_ONCE <= 10, "each holds a thread, and all events share forty"


def test_one_visitor_does_not_fill_the_queue(running_app, model):
    visitor = Visitor(running_app)
    statuses = [
        visitor.ask([{}, 1, i, 1, 1.0, 128, None, [0, 1]]) for i in range(MAX_WAITING_OF_SESSION + RUNS_AT_ONCE + 2)
    ]
    assert [answer.status_code for answer in statuses[:MAX_WAITING_OF_SESSION]] == [200] * MAX_WAITING_OF_SESSION
    assert statuses[-1].status_code == 503
    assert "runs of yours are waiting already" in statuses[-1].json()["detail"]
    assert Visitor(running_app).ask([{}, 1, 0, 1, 1.0, 128, None, [0, 1]]).status_code == 200
