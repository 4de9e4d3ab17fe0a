"""Without any network, every tab works: nothing is asked of anybody else, neither by the page nor by the app."""

import json
import subprocess
import sys

import pytest

from medi_core.ui.app import TABS
from tests.browser.driver import CHROMIUM, ROOT

pytestmark = pytest.mark.browser
OWN_NETWORK = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@pytest.fixture
def own_network() -> list[str]:
    """How to run a command in a network with a loopback and nothing else."""
    try:
        tried = subprocess.run([*OWN_NETWORK, "true"], check=False, capture_output=True, text=True, timeout=20)
    except FileNotFoundError as error:
        pytest.skip(f"a network of its own needs Linux with util-linux and iproute2: {error}")
    if tried.returncode:
        pytest.skip(f"a network of its own is not permitted here: {tried.stderr.strip()}")
    return OWN_NETWORK


def test_every_tab_loads_without_a_network_and_nothing_is_asked_of_anybody_else(own_network):
    assert CHROMIUM, "install Chromium or set CHROMIUM"
    command = [*own_network, sys.executable, "-m", "tests.browser.offline_visit"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["tabs"] == [label for label, _ in TABS.values()]
    assert seen["num_requests"] > 50, "the page has loaded"
    assert seen["elsewhere"] == []
    assert seen["failed"] == []
    assert seen["errors"] == []
    assert seen["reached_for"] == []
    assert seen["health"] == "ok"
