"""A running app around a tiny checkpoint, one for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from medi_core.bootstrap import Services
from medi_core.ui.guarded_blocks import GuardedBlocks
from medi_core.ui.server import Server
from tests.toy_app import toy_services


@dataclass(frozen=True)
class RunningApp:
    """What a test talks to."""

    url: str
    services: Services
    blocks: GuardedBlocks


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The real app, served on a free port."""
    services = toy_services(tmp_path_factory.mktemp("app"))
    server = Server(services)
    _, url, _ = server.blocks.launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, **server.launch_options()
    )
    yield RunningApp(url, services, server.blocks)
    server.blocks.close(verbose=False)
