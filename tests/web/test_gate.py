"""What is turned away before Gradio. Run: pytest tests/web/test_gate.py"""

import logging

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from medi_core.web.gate import MAX_BODY_BYTES, Gate


async def echo(request: Request) -> PlainTextResponse:
    """The body, as whoever stands behind the gate reads it."""
    return PlainTextResponse(await request.body())


async def stumble(request: Request) -> PlainTextResponse:
    raise {"key": KeyError, "bug": ZeroDivisionError}[request.query_params["what"]]("a visitor's secret")


def client(per_minute: float = 0) -> TestClient:
    routes = [
        Route("/gradio_api/stumble", stumble),
        Route("/{path:path}", echo, methods=["GET", "POST"]),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Gate, per_minute=per_minute)])
    return TestClient(app, raise_server_exceptions=False)


def call(http: TestClient, session: str):
    return http.post("/gradio_api/queue/join", json={"data": [], "session_hash": session})


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.org/a.png",
        "/gradio_api/file=HTTPS://example.org/a.png",
        "/gradio_api/file=http%3A%2F%2Fexample.org/a.png",
        "/gradio_api/file/http://example.org/a.png",
        "/gradio_api/file=ftp://example.org",
        "/gradio_api/proxy=https://example.hf.space/x",
        "/gradio_api/run-history/buckets",
    ],
)
def test_nothing_is_fetched_from_elsewhere(path):
    answer = client().get(path)
    assert answer.status_code == 403
    assert "fetches nothing from elsewhere" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/tmp/gradio/abc/tile.png", "C:/Temp/gradio/abc/tile.png"])
def test_a_file_of_this_app_passes(path):
    assert client().get(f"/gradio_api/file={path}").status_code == 200


def test_a_body_arrives_whole_behind_the_gate():
    body = b'{"session_hash": "abc", "data": ["' + b"x" * 300_000 + b'"]}'
    assert client(10).post("/gradio_api/queue/join", content=body).content == body


def test_an_absurd_body_is_refused():
    answer = client().post("/gradio_api/queue/join", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert "at most 16 MB" in answer.json()["detail"]


def test_a_session_that_calls_too_often_waits_and_others_do_not():
    http = client(5)
    answers = [call(http, "eager") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 12
    assert "wait" in answers[-1].json()["detail"]
    assert call(http, "patient").status_code == 200


def test_new_sessions_without_end_are_no_way_around_the_limit():
    http = client(1)
    statuses = [call(http, f"session-{i}").status_code for i in range(30)]
    assert statuses == [200] * 20 + [429] * 10


def test_passwords_cannot_be_tried_quickly():
    http = client(1000)
    assert [http.post("/login", data={"password": str(i)}).status_code for i in range(12)] == [200] * 10 + [429] * 2


@pytest.mark.parametrize(("what", "status"), [("key", 400), ("bug", 500)])
def test_a_request_that_is_stumbled_over_gets_a_sentence_and_the_log_no_value(what, status, caplog):
    with caplog.at_level(logging.DEBUG, "medi"):
        answer = client().get("/gradio_api/stumble", params={"what": what})
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    assert "secret" not in answer.text
    (fault,) = [record for record in caplog.records if record.getMessage() == "stumbled"]
    assert "stumble" in fault.fields["places"][-1]
    assert "secret" not in str(fault.__dict__)
