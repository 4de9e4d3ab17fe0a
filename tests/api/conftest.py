"""The app around a toy checkpoint that has all its companions, served once for the tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
import pytest

from medi_core.bootstrap import Services
from medi_core.ui.server import Server
from tests.toy_explorer import build_toy_explorer


@dataclass(frozen=True)
class ServedExplorer:
    """What a test talks to."""

    url: str
    services: Services
    blocks: gr.Blocks


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedExplorer]:
    """Served on a free port behind all its layers; with MCP tools where `mcp` is installed."""
    services = build_toy_explorer(tmp_path_factory.mktemp("explorer"))
    server = Server(services)
    _, url, _ = server.blocks.launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, **server.launch_options()
    )
    yield ServedExplorer(url, services, server.blocks)
    server.blocks.close(verbose=False)
