"""Headers that tell a browser what a page of this app may do: load nothing from elsewhere, be in no frame. ASGI."""

import os

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SPACE_ANCESTORS = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
"""Who may show the app in a frame when it runs as a Space."""


def content_security_policy(frame_ancestors: str) -> str:
    """Everything from this app alone. Gradio's page has inline scripts and styles, and builds functions from text."""
    return "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "media-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "connect-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            f"frame-ancestors 'self' {frame_ancestors}".strip(),
        )
    )


class SecurityHeaders:
    """Adds the headers to every answer.

    Args:
        is_space: whether huggingface.co may show the app in a frame; by default, whether this runs as a Space.
    """

    def __init__(self, app: ASGIApp, is_space: bool | None = None) -> None:
        self._app = app
        is_space = bool(os.environ.get("SPACE_ID")) if is_space is None else is_space
        self._headers = {
            "content-security-policy": content_security_policy(SPACE_ANCESTORS if is_space else ""),
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",  # links carry settings in the address
            "permissions-policy": "camera=(), microphone=(), geolocation=()",
        } | ({} if is_space else {"x-frame-options": "SAMEORIGIN"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)
