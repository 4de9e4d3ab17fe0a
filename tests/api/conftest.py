"""The app around a toy checkpoint that has all its companions, served once for the tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
import pytest

from medi_core.bootstrap import Services
from medi_core.ui.app import build_app, launch_options
from tests.toy_explorer import build_toy_explorer


@dataclass(frozen=True)
class ServedExplorer:
    """What a test talks to."""

    url: str
    services: Services
    blocks: gr.Blocks


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedExplorer]:
    """Served on a free port; with MCP tools where `mcp` is installed."""
    services = build_toy_explorer(tmp_path_factory.mktemp("explorer"))
    blocks = build_app(services)
    _, url, _ = blocks.queue().launch(
        prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, **launch_options(services)
    )
    yield ServedExplorer(url, services, blocks)
    blocks.close()
