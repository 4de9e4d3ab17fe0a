"""Uploaded images lose their metadata (EXIF, place, names) before anything else sees them. ASGI."""

import json
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medi_core.data.strip_metadata import strip_metadata

UPLOAD = "/gradio_api/upload"


class CleanUploads:
    """The upload route answers with the paths of what it stored: those files are cleaned before the answer goes out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != UPLOAD:
            await self._app(scope, receive, send)
            return
        status, answer = 0, bytearray()

        async def clean_and_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                answer.extend(message.get("body", b""))
                if status == 200 and not message.get("more_body"):
                    for path in json.loads(answer):
                        await run_sync(strip_metadata, Path(path))
            await send(message)

        await self._app(scope, receive, clean_and_send)
