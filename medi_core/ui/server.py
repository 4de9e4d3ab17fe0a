"""The app as a web server: what stands around Gradio, and how it stops. Knows no tab."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from starlette.middleware import Middleware

from medi_core.bootstrap import Services
from medi_core.ui.app import build_app, launch_options
from medi_core.ui.guarded_blocks import GuardedBlocks
from medi_core.web.accounts import parse_accounts
from medi_core.web.clean_uploads import CleanUploads
from medi_core.web.gate import Gate
from medi_core.web.health import health_route
from medi_core.web.security_headers import SecurityHeaders

MAX_SESSIONS = 2000
"""Kept in memory; the one that was quiet for longest makes room."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAREWELL_SECONDS = 5.0
"""For the running step, and as long again for answers that are under way when the app stops."""


class Server:
    """The app around one set of services, ready to be launched.

    Raises:
        InvalidRequestError: the accounts of the settings cannot be read.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._is_stopping = services, threading.Event()
        self._accounts = parse_accounts(services.settings.auth)
        self.blocks: GuardedBlocks = build_app(services)
        self.blocks.queue(default_concurrency_limit=None, api_open=False)

    def launch_options(self) -> dict[str, Any]:
        """For `Blocks.launch`: looks, accounts, and the layers around Gradio, the outermost first."""
        settings = self._services.settings
        layers = [
            Middleware(SecurityHeaders),
            Middleware(Gate, per_minute=settings.rate_limit),
            Middleware(CleanUploads),
        ]
        return launch_options(self._services) | {
            "app_kwargs": {"middleware": layers, "routes": [health_route(self.state)]},
            "auth": self._accounts or None,
            "enable_monitoring": False,
            "ssr_mode": False,
            "state_session_capacity": MAX_SESSIONS,
        }

    def state(self) -> dict[str, Any]:
        """What `/healthz` shows."""
        checkpoint = self._services.checkpoint
        return {
            "status": "stopping" if self._is_stopping.is_set() else "ok",
            "checkpoint": checkpoint.id,
            "device": str(checkpoint.pipeline.device),
            "queue": self.blocks.occupancy(),
        }

    def serve(self, host: str, port: int) -> None:
        """Serve until SIGTERM or Ctrl+C, then finish the running step and return.

        Raises:
            OSError: the port is taken.
        """
        options, asked_to_stop = self.launch_options(), threading.Event()

        def stop_once(*_: object) -> None:
            asked_to_stop.set()
            for name in SIGNALS:  # asked again, it ends at once
                signal.signal(name, signal.SIG_DFL)

        for name in SIGNALS:
            signal.signal(name, stop_once)
        try:
            self.blocks.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
        except ValueError:
            # Gradio asks its own first page, once and for 3 s, and gives up; readers who wait for a server that was
            # started anew keep it busy for longer. It serves all the same.
            if not self.blocks.is_running:
                raise
        while not asked_to_stop.wait(0.5):  # without end, Windows would not hear Ctrl+C
            pass
        self.stop()

    def stop(self) -> None:
        """Take no more work, finish the running step, tell those who wait, close."""
        self._is_stopping.set()
        for service in {self._services.generation, self._services.instant} - {None}:
            service.stop(FAREWELL_SECONDS)
        _wait_until(lambda: not self.blocks.is_answering(), FAREWELL_SECONDS)
        self.blocks.close(verbose=False)


def _wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
