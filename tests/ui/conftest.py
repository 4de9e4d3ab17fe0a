"""A running app around a tiny checkpoint, one for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.toy_app import RunningApp, serve, toy_services


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The real app, served on a free port."""
    with serve(toy_services(tmp_path_factory.mktemp("app"))) as app:
        yield app
