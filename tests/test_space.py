"""The repository as a Space: what its platforms accept, and the app where a Space would run it.

Facts of the platforms, from the Hub's documentation in September 2026: spaces-config-reference, spaces-zerogpu,
spaces-overview (variables of the environment).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from PIL import Image

ROOT = Path(__file__).parent.parent
USER_ID = 1000
"""Of the user that a Space runs as."""
START_SECONDS = 180
SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "owner/medi-explorer",
    "SPACE_HOST": "owner-medi-explorer.hf.space",
    "SPACE_AUTHOR_NAME": "owner",
    "SPACE_REPO_NAME": "medi-explorer",
    "SPACE_TITLE": "MeDi Explorer",
    "SPACE_CREATOR_USER_ID": "0123456789abcdef01234567",
    "ACCELERATOR": "none",
    "CPU_CORES": "2",
    "MEMORY": "16Gi",
    "PYTHONUNBUFFERED": "1",
    "GRADIO_ALLOW_FLAGGING": "never",
    "GRADIO_NUM_PORTS": "1",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_SSR_MODE": "true",
    "GRADIO_THEME": "huggingface",
    "HF_HUB_OFFLINE": "1",  # not of a Space: whatever the app would fetch, it must do without
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """The app as a Space runs it: its address, its code folder and the home of its user."""
    folder = tmp_path_factory.mktemp("space")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    home, temporary = folder / "user", folder / "tmp"
    code = home / "app"
    copy_tracked_files(code)
    temporary.mkdir()
    as_user = give_to_user(home, temporary)
    make_read_only(code)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "LANG") if name in os.environ}
    environment |= SPACE | {"HOME": str(home), "TMPDIR": str(temporary), "GRADIO_SERVER_PORT": str(port)}
    log = folder / "app.log"
    with log.open("wb") as output:
        command = [*as_user, sys.executable, "app.py"]
        app = subprocess.Popen(command, cwd=code, env=environment, stdout=output, stderr=output)
    try:
        wait_for(f"http://127.0.0.1:{port}/", app, log)
        yield f"http://127.0.0.1:{port}/", code, home
    finally:
        app.terminate()
        app.wait(30)
        subprocess.run(["chmod", "-R", "u+w", str(code)], check=True)  # so that pytest can delete it


def copy_tracked_files(folder: Path) -> None:
    """What a push would bring: the files that git knows, as they lie here."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def give_to_user(*folders: Path) -> list[str]:
    """Hand folders to the user of a Space; what runs a command as that user.

    Who is not root is no other user already, and stays who he is.
    """
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root without `setpriv` (util-linux) cannot run the app as another user")
    for folder in folders:
        os.chown(folder, USER_ID, USER_ID)
    # this interpreter may lie in root's home: the user may read it, and write nowhere but in the folders above
    may_read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", *may_read]


def make_read_only(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)


def wait_for(address: str, app: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert app.poll() is None, f"the app ended: {log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer within {START_SECONDS} s: {log.read_text()[-3000:]}")


def test_the_app_comes_up_where_a_space_runs_it_and_makes_a_tile(space):
    url, code, home = space
    before = sorted(code.rglob("*"))
    client = Client(url, verbose=False, analytics_enabled=False)
    (tile,) = client.predict({"cancer_type": "Breast_invasive_carcinoma"}, seed=3, steps=2, api_name="/generate")
    with Image.open(tile["file"]) as image:
        assert image.size == (128, 128)
    assert client.predict(api_name="/info")["checkpoint"].startswith("medi-128@")
    print(sorted(home.iterdir()), len(before))
