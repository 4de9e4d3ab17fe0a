"""What is turned away before Gradio. Run: pytest tests/web/test_gate.py"""

import logging
from contextlib import suppress

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from medi_core.services.request_checks import check_text
from medi_core.web.gate import MAX_BODY_BYTES, SESSIONS_OF_ADDRESS, Gate


async def echo(request: Request) -> PlainTextResponse:
    """The body, as whoever stands behind the gate reads it."""
    return PlainTextResponse(await request.body())


async def stumble(request: Request) -> PlainTextResponse:
    if request.query_params["what"] == "ours":
        check_text(None)  # an AttributeError
    raise {"key": KeyError, "bug": ZeroDivisionError, "gone": ClientDisconnect}[request.query_params["what"]](
        "a visitor's secret"
    )


def client(per_minute: float = 0) -> TestClient:
    routes = [
        Route("/gradio_api/stumble/{path:path}", stumble),
        Route("/gradio_api/call/stumble", stumble),
        Route("/gradio_api/component_server", stumble),
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


def test_an_address_that_calls_too_often_is_told_before_its_body_is_read():
    http = client(1)
    for i in range(SESSIONS_OF_ADDRESS):
        call(http, f"session-{i}")
    assert http.post("/gradio_api/queue/join", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 429


@pytest.mark.parametrize("kind", ["data", "files"])  # as gradio_client sends it, and as the page does
def test_passwords_of_a_user_cannot_be_tried_quickly_and_nobody_else_at_that_address_waits(kind, monkeypatch):
    monkeypatch.setattr("medi_core.web.gate.LOGINS_PER_MINUTE", 2)
    http = client(1000)

    def log_in(name: str, password: str) -> int:
        fields = {"username": name, "password": password}
        parts = fields if kind == "data" else {key: (None, value) for key, value in fields.items()}
        answer = http.post("/login", **{kind: parts})
        assert answer.status_code != 200 or password in answer.text, "the body goes on"
        return answer.status_code

    tries = [log_in("anna" + " " * (i % 2), f"try-{i}") for i in range(4)]
    assert tries == [200] * 2 + [429] * 2
    assert log_in("ben", "s3cret") == 200
    others = [log_in(f"user-{i}", "guess") for i in range(2 * SESSIONS_OF_ADDRESS)]
    assert others[20] == 200
    assert others[-1] == 429, "an address has an end, too"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=a"])
def test_a_login_that_cannot_be_read_counts_and_goes_on(content_type):
    http = client(1000)
    sent = [http.post("/login", content=b"--b\r\nx", headers={"Content-Type": content_type}) for _ in range(11)]
    assert [answer.status_code for answer in sent] == [200] * 10 + [429]


def test_visitors_of_one_address_upload_as_much_as_so_many_sessions(monkeypatch):
    monkeypatch.setattr("medi_core.web.gate.UPLOADS_PER_MINUTE", 2)
    http, most = client(1000), 2 * SESSIONS_OF_ADDRESS
    statuses = [http.post("/gradio_api/upload", content=b"x").status_code for _ in range(most + 20)]
    assert statuses[:most] == [200] * most
    assert statuses[-1] == 429


@pytest.mark.parametrize("route", ["call/stumble", "component_server"])
def test_who_leaves_in_the_middle_of_a_request_is_no_fault(route, caplog):
    with caplog.at_level(logging.DEBUG, "medi"), suppress(AssertionError):  # the test's client expects an answer
        client().get(f"/gradio_api/{route}", params={"what": "gone"})
    assert {record.getMessage() for record in caplog.records} == {"request"}


@pytest.mark.parametrize(
    ("route", "what", "status"),
    [
        ("call/stumble", "key", 400),
        ("call/stumble", "bug", 500),
        ("component_server", "key", 400),
        ("component_server", "ours", 500),
        ("stumble/other", "key", 500),
    ],
)
def test_a_request_that_is_stumbled_over_gets_a_sentence_and_the_log_no_value(route, what, status, caplog):
    with caplog.at_level(logging.DEBUG, "medi"):
        answer = client().get(f"/gradio_api/{route}", params={"what": what})
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    assert "secret" not in answer.text
    (fault,) = [record for record in caplog.records if record.getMessage() == "stumbled"]
    assert "stumble" in str(fault.fields["places"])
    assert "secret" not in str(fault.__dict__)
