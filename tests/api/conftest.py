"""The app around a toy checkpoint that has all its companions, served once for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.toy_app import RunningApp, serve
from tests.toy_explorer import build_toy_explorer


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """With MCP tools where `mcp` is installed."""
    with serve(build_toy_explorer(tmp_path_factory.mktemp("explorer"))) as app:
        yield app
