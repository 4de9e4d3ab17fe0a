"""`GET /healthz`: whether the app can take work, as plain JSON, for a load balancer or a person. Nothing of users."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

PATH = "/healthz"


def health_route(state: Callable[[], Mapping[str, Any]]) -> Route:
    """The route; it answers 503 while the app stops.

    Args:
        state: `status` ("ok" or "stopping") and whatever else is to be shown; called at each request.
    """

    async def healthz(_: Request) -> JSONResponse:
        now = dict(state())
        return JSONResponse(now, 200 if now["status"] == "ok" else 503, {"Cache-Control": "no-store"})

    return Route(PATH, healthz, methods=["GET"])
