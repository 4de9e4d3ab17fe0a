"""A stand-in for the Hugging Face Hub: makes repositories and takes commits over HTTP; the files stay in memory."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class ToyHub:
    """Repositories by kind/owner/name, each path → content.

    Attributes:
        refuse: route ("create" or "commit") → (status, message) of the answer it gives instead.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        self.tokens: set[str] = set()
        self.messages: dict[str, str] = {}

    def create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        """POST /api/repos/create"""
        key = f"{wanted.get('type', 'model')}/{wanted['organization']}/{wanted['name']}"
        address = {"url": address_of(key)}
        if key in self.repos:
            return 409, {"error": "You already created this repo", **address}
        self.repos[key], self.made[key] = {".gitattributes": b"of the hub"}, wanted
        return 200, address

    def commit(self, key: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        """POST /api/{kind}s/{repo}/commit/main"""
        for line in lines:
            if line["key"] == "header":
                self.messages[key] = line["value"]["summary"]
            elif line["key"] == "file":
                self.repos[key][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.repos[key][line["value"]["path"]]
        return 200, {"commitUrl": f"{address_of(key)}/commit/0", "commitOid": "0", "success": True}


def address_of(key: str) -> str:
    """Of a repository, as the hub would say it: the client reads it."""
    return "https://huggingface.co/" + key.removeprefix("model/").replace("space/", "spaces/", 1)


@contextmanager
def running_hub() -> Iterator[tuple[str, ToyHub]]:
    """Its address, and what is in it."""
    hub = ToyHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: ToyHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

        def _answer(self, body: bytes) -> None:
            hub.tokens.add(self.headers.get("authorization", ""))
            status, content = self._route(urlsplit(self.path).path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if status >= 400:
                self.send_header("x-error-message", content["error"])
            self.end_headers()
            self.wfile.write(data)

        def _route(self, path: str, body: bytes) -> tuple[int, Any]:
            kind, _, repo, route = _parse(path)
            if route in hub.refuse:
                status, message = hub.refuse[route]
                return status, {"error": message}
            if route == "create":
                return hub.create(json.loads(body))
            if route == "validate-yaml":
                return 200, {"errors": [], "warnings": []}
            key = f"{kind}/{repo}"
            if route == "tree":
                return 200, [{"type": "file", "path": p, "size": 1, "oid": "0"} for p in hub.repos[key]]
            if route == "preupload":
                names = [file["path"] for file in json.loads(body)["files"]]
                return 200, {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in names]}
            if route == "commit":
                return hub.commit(key, [json.loads(line) for line in body.splitlines()])
            return 404, {"error": f"{path}: no such route"}

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


def _parse(path: str) -> tuple[str, str, str, str]:
    """Kind, …, owner/name and route of an address."""
    if path == "/api/repos/create":
        return "", "", "", "create"
    if match := re.match(r"/api/(model|space)(s)/([^/]+/[^/]+)/(tree|preupload|commit)/", unquote(path)):
        return match.groups()
    return "", "", "", path.removeprefix("/api/")
