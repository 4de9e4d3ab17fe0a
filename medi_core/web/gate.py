"""What is turned away before Gradio sees it, and what becomes of requests that it stumbles over. ASGI, no widgets.

Turned away: requests that would make the server fetch something from elsewhere, absurdly large ones, and whoever calls
too often. A malformed request gets a 400 and one sentence, not a 500.
"""

import logging
import re
import time
import traceback
from math import ceil
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medi_core.web.logs import log, log_fault
from medi_core.web.rate_limit import RateLimit

API = "/gradio_api"
FETCHING = (f"{API}/proxy=", f"{API}/run-history", f"{API}/vibe")
"""Routes of Gradio that ask other servers."""
REMOTE_FILE = re.compile(rf"{API}/file[=/]\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""A scheme has two letters or more; `C:/` is a folder."""
CALLS = tuple(f"{API}/{name}" for name in ("queue/join", "call/", "run/", "api/", "component_server", "mcp"))
UPLOADS, LOGIN = (f"{API}/upload", f"{API}/process_recording"), ("/login",)
SESSION = re.compile(rb'"session_hash"\s*:\s*"([^"]{1,200})"')
MAX_BODY_BYTES, MAX_LOGIN_BYTES = 16_000_000, 16_000
"""A call may hold an image as text; uploads have a limit of their own."""
SESSIONS_OF_ADDRESS = 20
"""A clinic, or the proxy of a Space, is one address with many visitors: it may do so many times what one may."""
UPLOADS_PER_MINUTE, LOGINS_PER_MINUTE = 60, 10
"""Of one visitor, and of one address for one user name."""
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)
"""What Gradio raises in the face of a body that is not what it expects."""
PARSED = tuple(f"{API}/{name}" for name in ("queue/join", "call/", "run/", "api/", "cancel", "file"))
"""Routes that parse such bodies, or paths, and run nothing of ours before they have answered."""
PARSED_AND_RUN = f"{API}/component_server"
LAYERS = Path(__file__).parent
NO_FIT = "this request does not fit any endpoint: GET /gradio_api/info lists them with their parameters"
BROKEN = "something went wrong on the server, and was noted there: try again"


class Gate:
    """One for the app.

    Args:
        per_minute: calls of one session in a minute, as many at once; 0 = no limits.
    """

    def __init__(self, app: ASGIApp, per_minute: float) -> None:
        self._app = app
        self._sessions, self._addresses = RateLimit(per_minute), RateLimit(per_minute * SESSIONS_OF_ADDRESS)
        one = 1 if per_minute else 0
        self._uploads = RateLimit(one * UPLOADS_PER_MINUTE * SESSIONS_OF_ADDRESS)
        self._logins = RateLimit(one * LOGINS_PER_MINUTE)
        self._logins_of_address = RateLimit(one * LOGINS_PER_MINUTE * SESSIONS_OF_ADDRESS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            refusal, receive = await self._refusal(Request(scope, receive), receive)
            await (refusal or self._app)(scope, receive, noting_send)
        except ClientDisconnect:
            pass  # in the middle of its own request: nobody is there to be answered, and nothing is wrong here
        except Exception as error:
            if status:  # the answer has begun: there is nothing to put in its place
                raise
            answer = JSONResponse({"detail": BROKEN}, 500)
            if _is_malformed(scope["path"], error):
                answer = JSONResponse({"detail": NO_FIT}, 400)
            log_fault("stumbled", error, route=_route(scope["path"]))
            await answer(scope, receive, noting_send)
        finally:
            level = logging.INFO if scope["method"] == "POST" or status >= 400 else logging.DEBUG
            passed = round((time.monotonic() - start) * 1000)
            log(level, "request", method=scope["method"], route=_route(scope["path"]), status=status, ms=passed)

    async def _refusal(self, request: Request, receive: Receive) -> tuple[JSONResponse | None, Receive]:
        """What to answer instead, and the body again: it has been read."""
        path, address = request.scope["path"], request.client.host if request.client else ""
        if path.startswith(FETCHING) or REMOTE_FILE.match(path):
            return JSONResponse({"detail": "this app fetches nothing from elsewhere"}, 403), receive
        if request.method != "POST":
            return None, receive
        if path.startswith(UPLOADS):
            return _too_often(self._uploads.seconds_to_wait(address)), receive
        is_login = path.startswith(LOGIN)
        if not is_login and not path.startswith(CALLS):
            return None, receive
        if wait := (self._logins_of_address if is_login else self._addresses).seconds_to_wait(address):
            return _too_often(wait), receive  # before the body is read
        body = await _read(request, MAX_LOGIN_BYTES if is_login else MAX_BODY_BYTES)
        if body is None:
            told = (
                "a login is a name and a password"
                if is_login
                else f"a call has at most {MAX_BODY_BYTES / 1e6:.0f} MB: upload files first"
            )
            return JSONResponse({"detail": told}, 413), receive
        if is_login:
            name = await _user_name(Request(request.scope, _replayed(body, receive)))
            wait = self._logins.seconds_to_wait(f"{address} {name}")
        elif named := SESSION.search(body):
            wait = self._sessions.seconds_to_wait(named[1].decode("latin-1"))
        return _too_often(wait), _replayed(body, receive)


async def _read(request: Request, most: int) -> bytes | None:
    """The body; `None` if it is longer."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


async def _user_name(request: Request) -> str:
    """Who a login says it is, as Gradio reads it; "" where that cannot be read, which is refused behind."""
    try:
        async with request.form() as form:
            return str(form.get("username", "")).strip()
    except (HTTPException, MultiPartException):
        return ""


def _is_malformed(path: str, error: Exception) -> bool:
    """Whether Gradio stumbled over what was sent; anything else is a bug."""
    if not isinstance(error, MALFORMED):
        return False
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    is_ours = any(LAYERS.parent in file.parents and file.parent != LAYERS for file in files)
    return path.startswith(PARSED) or (path.startswith(PARSED_AND_RUN) and not is_ours)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what comes after it: the client's departure."""
    is_sent = False

    async def again() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_often(wait_seconds: float) -> JSONResponse | None:
    if not wait_seconds:
        return None
    wait = ceil(wait_seconds)
    text = f"Too many requests in a short time: wait {wait} s, then go on."
    return JSONResponse({"detail": text}, 429, {"Retry-After": str(wait)})


def _route(path: str) -> str:
    """The first words of a path; what follows names files, sessions and events."""
    found = re.match(r"/(gradio_api/)?[a-z_]*", path)
    return found[0] if found else "/"
