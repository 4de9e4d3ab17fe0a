"""The repository as a Space: its front matter, and the app where a Space would run it.

The variables of the environment are those of the Hub's documentation (spaces-overview) and of its Gradio image.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from medi_core.services.publish_checks import space_card_faults
from medi_core.settings import Settings

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


@dataclass(frozen=True)
class RunningSpace:
    """What a test looks at."""

    url: str
    code: Path
    files: dict[str, tuple[int, int]]
    """Of the code folder, before the start."""
    home: Path
    log: Path
    process: subprocess.Popen
    as_user: list[str]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSpace]:
    """The app as a Space runs it: the tracked files, another user than root, a code folder that cannot be written."""
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
    url, files = f"http://127.0.0.1:{port}/", listing(code)
    environment = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "LANG") if name in os.environ}
    environment |= SPACE | {"HOME": str(home), "TMPDIR": str(temporary), "GRADIO_SERVER_PORT": str(port)}
    log = folder / "app.log"
    with log.open("wb") as output:
        command = [*as_user, sys.executable, "app.py"]
        app = subprocess.Popen(command, cwd=code, env=environment, stdout=output, stderr=output)
    try:
        wait_for(url, app, log)
        yield RunningSpace(url, code, files, home, log, app, as_user)
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


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Name → size and time of change of all that lies in a folder."""
    found = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*")}
    return {name: (facts.st_size, facts.st_mtime_ns) for name, facts in found.items()}


def owner_of(process: subprocess.Popen) -> int:
    """User id a process runs as."""
    proc = Path(f"/proc/{process.pid}")
    return proc.stat().st_uid if proc.exists() else os.geteuid()


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


def test_the_front_matter_is_what_spaces_and_zero_gpu_accept():
    assert space_card_faults(ROOT) == []


def test_the_app_comes_up_where_a_space_runs_it_and_makes_a_tile(space):
    client = Client(space.url, verbose=False, analytics_enabled=False)
    assert client.predict(api_name="/info")["checkpoint"].startswith(f"{Settings().checkpoint}@")
    (tile,) = client.predict({"cancer_type": "Breast_invasive_carcinoma"}, seed=3, steps=2, api_name="/generate")
    with Image.open(tile["file"]) as image:
        assert image.size == (128, 128)
        assert np.asarray(image).std() > 5, "something is to be seen"
    rerendered = client.predict(handle_file(tile["file"]), {"center": "Indivumed"}, steps=2, api_name="/rerender")
    assert rerendered["origin"] == "synthetic"
    said = space.log.read_text()
    assert "error:" not in said
    assert f"{space.code}/medi_core" not in said, "no traceback of ours"
    assert listing(space.code) == space.files, "nothing is written where the code is"
    assert stat.S_IMODE(space.code.stat().st_mode) & 0o222 == 0
    assert owner_of(space.process) != 0, "not as root"
    assert (space.home / ".local" / "share" / "medi-explorer").is_dir(), "reviews are kept in the user's home"


def test_a_write_beside_the_code_would_have_failed(space):
    """Else the test above would show nothing."""
    attempt = [*space.as_user, "touch", str(space.code / "written")]
    assert subprocess.run(attempt, capture_output=True, check=False).returncode != 0
