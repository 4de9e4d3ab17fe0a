"""Headers of every answer. Run: pytest tests/web/test_security_headers.py"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from medi_core.web.security_headers import SecurityHeaders


def headers(is_space: bool | None = None) -> dict[str, str]:
    app = Starlette(middleware=[Middleware(SecurityHeaders, is_space=is_space)])
    return TestClient(app).get("/nothing").headers


def policy(is_space: bool | None = None) -> dict[str, list[str]]:
    rules = headers(is_space)["content-security-policy"].split("; ")
    return {name: sources for name, *sources in map(str.split, rules)}


def test_an_answer_says_that_types_are_not_guessed_and_addresses_not_told():
    got = headers()
    assert got["x-content-type-options"] == "nosniff"
    assert got["referrer-policy"] == "same-origin"


def test_a_page_loads_from_this_app_alone():
    for name, sources in policy(False).items():
        assert not [source for source in sources if "://" in source or "*" in source], name
    assert policy()["default-src"] == ["'self'"]
    assert policy()["connect-src"][0] == "'self'"


def test_only_a_space_may_be_framed_by_the_hub(monkeypatch):
    assert policy(False)["frame-ancestors"] == ["'self'"]
    assert headers(False)["x-frame-options"] == "SAMEORIGIN"
    assert "https://huggingface.co" in policy(True)["frame-ancestors"]
    assert "x-frame-options" not in headers(True)
    monkeypatch.setenv("SPACE_ID", "someone/medi-explorer")
    assert policy() == policy(True)
