"""The app as strangers meet it, by raw HTTP: files, secrets, health, headers, accounts, and its end."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from PIL import Image

from medi_core.checkpoints import save_checkpoint
from medi_core.errors import StoppingError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.ui.app import reason_without_mcp
from medi_core.ui.guarded_blocks import BUG
from medi_core.ui.server import SIGNALS, Server
from tests.toy_app import PASSPHRASE, toy_services
from tests.toys import build_tiny_pipeline, build_toy_vocabulary, synthetic_tissue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def http(running_app):
    with httpx.Client(base_url=running_app.url, timeout=60) as client:
        yield client


def run_event(http: httpx.Client, fn_id: int, data: list, session: str, **more) -> dict:
    """What an event of the page answers to whoever calls it by its number."""
    body = {"data": data, "fn_index": fn_id, "session_hash": session} | more
    joined = http.post("/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and (message := json.loads(line[5:]))["msg"] == "process_completed":
                return message
    raise AssertionError("no answer")


def upload(http: httpx.Client, name: str, content: bytes) -> str:
    answer = http.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()[0]


# ---------------------------------------------------------------------- files
def test_no_file_but_the_apps_own_outputs_is_served(http, tmp_path):
    (secret := tmp_path / "secret.txt").write_text("secret")
    mine = upload(http, "mine.txt", content := uuid.uuid4().hex.encode())  # an own folder for each content
    folder = Path(mine).parent
    (folder / "link.txt").symlink_to(secret)
    (folder / "folder").symlink_to(tmp_path)
    assert http.get(f"/gradio_api/file={mine}").content == content
    for path in (
        str(secret),
        *("/etc/passwd", "//etc/passwd", "file:///etc/passwd", "/proc/self/environ", "~/.ssh/id_rsa"),
        *("../../../../etc/passwd", "..%2f..%2f..%2fetc/passwd", f"{folder}/../../../etc/passwd"),
        *(str(folder / "link.txt"), str(folder / "folder" / "secret.txt"), str(folder), f"{folder}/..", "app.py", "/"),
        *(r"\\host\share\a.png", "//host/share/a.png", r"C:\Windows\win.ini", r"..\..\app.py", "a%00b", "checkpoints"),
        *(str(ROOT / "app.py"), str(ROOT / "medi_core" / "settings.py")),
    ):
        for prefix in ("file=", "file/"):
            answer = http.get(f"/gradio_api/{prefix}{path}")
            assert answer.status_code in (403, 404), (path, answer.status_code)
            assert "root:" not in answer.text
            assert answer.text != "secret"
    for route in ("static", "assets", "svelte"):
        assert http.get(f"/{route}/..%2f..%2f..%2frouting.py").status_code in (403, 404)


def test_a_tile_that_was_made_is_served_and_its_folder_is_not(running_app, http):
    client = Client(running_app.url, verbose=False, download_files=False)
    (tile,) = client.predict({}, num=1, seed=3, steps=1, api_name="/generate")
    path = tile["file"]["path"]
    assert http.get(f"/gradio_api/file={path}").headers["content-type"] == "image/png"
    assert http.get(f"/gradio_api/file={Path(path).parent}").status_code == 403


def test_no_event_of_the_page_takes_a_file_that_was_not_uploaded(running_app, http, tmp_path):
    (secret := tmp_path / "secret.csv").write_text("tile,true\n")
    takes_files = [
        fn for fn in running_app.blocks.fns.values() if any(b.__class__.__name__ == "File" for b in fn.inputs)
    ]
    assert len(takes_files) >= 3
    for i, fn in enumerate(takes_files):
        for path in (str(secret), "https://example.org/a.zip", "/etc/passwd"):
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            data = [file if block.__class__.__name__ == "File" else None for block in fn.inputs]
            answer = run_event(http, fn._id, data, f"thief-{i}")
            assert not answer["success"]
            assert "a file is named that was not uploaded" in answer["output"]["error"]


def test_an_upload_loses_its_exif_and_what_is_made_of_it_has_none(running_app, http):
    exif = Image.Exif()
    exif[0x013B] = "Jane Roe"
    Image.fromarray(synthetic_tissue(128, 1)).save(buffer := io.BytesIO(), "JPEG", exif=exif, quality=95)
    path = upload(http, "tile.jpg", buffer.getvalue())
    assert b"Jane Roe" in buffer.getvalue()
    assert b"Jane Roe" not in http.get(f"/gradio_api/file={path}").content
    client = Client(running_app.url, verbose=False)
    (local := Path(path).with_name("again.jpg")).write_bytes(buffer.getvalue())
    made = client.predict(handle_file(local), {"center": "Rome"}, 0.3, 1, 1, 1.0, api_name="/rerender")
    content = Path(made["file"]).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"Jane Roe" not in content


def test_files_of_visitors_are_deleted_within_the_hour(running_app, http):
    client = Client(running_app.url, verbose=False, download_files=False)
    (tile,) = client.predict({}, num=1, seed=4, steps=1, api_name="/generate")
    files = [Path(tile["file"]["path"]), Path(upload(http, "mine.txt", uuid.uuid4().hex.encode()))]
    assert all(file.exists() for file in files)
    every, age = running_app.blocks.delete_cache
    assert max(every, age) <= 3600
    delete_files_created_by_app(running_app.blocks, age)
    assert all(file.exists() for file in files), "they are young"
    delete_files_created_by_app(running_app.blocks, age=0)
    assert not any(file.exists() for file in files)


# -------------------------------------------------------------------- secrets
def test_no_event_of_the_administration_answers_without_the_passphrase(running_app, http):
    """Neither by its number, nor with a state that says it is unlocked, nor as an endpoint, nor past the queue."""
    admin = [
        fn
        for fn in running_app.blocks.fns.values()
        if getattr(fn.fn, "__module__", "").startswith(("medi_core.ui.review_admin", "medi_core.ui.review_new"))
        and fn.name != "on_unlock"
        and any(block.stateful for block in fn.inputs)
    ]
    assert len(admin) >= 5
    for i, fn in enumerate(admin):
        answer = run_event(http, fn._id, [True if block.stateful else None for block in fn.inputs], f"intruder-{i}")
        assert not answer["success"]
        assert "unlock the administration first" in answer["output"]["error"], fn.name
        data = {"data": [True if block.stateful else None for block in fn.inputs]}
        for route in ("run", "api"):
            assert http.post(f"/gradio_api/{route}/{fn.api_name}", json=data).status_code == 404
        event = http.post(f"/gradio_api/call/{fn.api_name}", json=data).json()["event_id"]
        assert "unlock the administration first" in http.get(f"/gradio_api/call/{fn.api_name}/{event}").text


def test_the_passphrase_opens_one_session_and_no_other(running_app, http):
    (unlock,) = [fn for fn in running_app.blocks.fns.values() if fn.name == "on_unlock"]
    (choice,) = {fn._id for fn in running_app.blocks.fns.values() if fn.name == "on_backup"}
    assert run_event(http, unlock._id, [PASSPHRASE], "admin")["success"]
    assert run_event(http, choice, [None], "admin")["success"]
    assert not run_event(http, choice, [None], "somebody else")["success"]
    assert PASSPHRASE not in http.get("/config").text


def test_a_bug_reaches_nobody_as_more_than_a_sentence(running_app, http, monkeypatch, capfd):
    def broken(*_):
        raise ZeroDivisionError("patient 0815")

    monkeypatch.setattr(running_app.services.generation, "check", broken)
    (fn,) = [fn for fn in running_app.blocks.fns.values() if fn.api_name == "generate"]
    answer = run_event(http, fn._id, [{}, 1, 1, 1, 1.0, 128, None, [0, 1]], "unlucky")
    assert answer["output"]["error"] == BUG
    out = capfd.readouterr()
    assert "0815" not in json.dumps(answer) + out.err + out.out


def test_a_session_keeps_nothing_of_what_it_was_shown(running_app, http):
    (fn,) = [fn for fn in running_app.blocks.fns.values() if fn.api_name == "generate"]
    run_event(http, fn._id, [{}, 1, 1, 1, 1.0, 128, None, [0, 1]], "forgetful")
    session = running_app.blocks.state_holder["forgetful"]
    assert not any(session.config_values.values())


# ------------------------------------------------------------ health, headers
def test_health_is_plain_json(running_app, http):
    answer = http.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checkpoint": running_app.services.checkpoint.id,
        "device": "cpu",
        "queue": {"waiting": 0, "running": 0},
    }
    assert http.post("/healthz").status_code == 405


@pytest.mark.parametrize("path", ["/", "/healthz", "/config", "/theme.css", "/gradio_api/info", "/nothing"])
def test_every_answer_carries_the_headers(http, path):
    headers = http.get(path).headers
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.fixture(scope="module")
def strict_services(tmp_path_factory):
    """One account, and few calls a minute."""
    return toy_services(tmp_path_factory.mktemp("strict"), auth="anna:s3cret", rate_limit=20)


@pytest.fixture(scope="module")
def strict_url(strict_services):
    """The app around them."""
    server = Server(strict_services)
    _, url, _ = server.blocks.launch(prevent_thread_lock=True, quiet=True, **server.launch_options())
    yield url
    server.blocks.close(verbose=False)


def test_with_accounts_nothing_is_seen_without_one(strict_url):
    with httpx.Client(base_url=strict_url) as http:
        assert "generate-button" not in http.get("/").text
        for path in ("config", "gradio_api/info", "gradio_api/file=/tmp/a", "gradio_api/queue/data?session_hash=a"):
            assert http.get(f"/{path}").status_code == 401, path
        for path in ("queue/join", "call/generate", "run/generate", "component_server", "upload"):
            assert http.post(f"/gradio_api/{path}", json={"data": []}).status_code == 401, path
        assert http.get("/healthz").status_code == 200
        assert http.post("/login", data={"username": "anna", "password": "wrong"}).status_code == 400
    with pytest.raises(Exception, match=r"(?i)auth|login|credentials"):
        Client(strict_url, verbose=False)
    client = Client(strict_url, auth=("anna", "s3cret"), verbose=False)
    assert client.predict(api_name="/info")["checkpoint"].startswith("tiny@")


def test_with_accounts_there_are_no_mcp_tools(strict_url, strict_services):
    assert "MEDI_AUTH" in reason_without_mcp(strict_services)
    with httpx.Client(base_url=strict_url, follow_redirects=True) as http:
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accept = {"accept": "application/json, text/event-stream"}
        assert http.post("/gradio_api/mcp/", json=ask, headers=accept).status_code in (401, 404, 405)
        assert http.get("/gradio_api/mcp/schema").status_code in (401, 404)


def test_a_session_in_a_hurry_is_asked_to_wait(strict_url):
    with httpx.Client(base_url=strict_url) as http:
        assert http.post("/login", data={"username": "anna", "password": "s3cret"}).status_code == 200
        components = http.get("/config").json()["dependencies"]
        (fn,) = [dependency["id"] for dependency in components if dependency["api_name"] == "info"]
        body = {"data": [], "fn_index": fn, "session_hash": "eager"}
        answers = [http.post("/gradio_api/queue/join", json=body) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert "wait" in answers[-1].json()["detail"]


# ------------------------------------------------------------------------ end
def test_stopping_finishes_the_step_and_tells_who_waits(tmp_path):
    services = toy_services(tmp_path)
    server, steps = Server(services), []
    _, url, _ = server.blocks.launch(prevent_thread_lock=True, quiet=True, **server.launch_options())
    plain = services.generation._on_device

    def noted(request: GenerationRequest):
        for report in plain(request):
            steps.append(report.done)
            yield report
            time.sleep(0.02)

    services.generation._on_device = noted
    jobs = [Client(url, verbose=False).submit({}, 64, seed, 50, api_name="/generate") for seed in (0, 100)]
    deadline = time.monotonic() + 20
    while not (steps and sum(server.blocks.occupancy().values()) == 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    seen = []
    watcher = threading.Thread(target=lambda: seen.append(httpx.get(f"{url}healthz")))
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    watcher.start()
    for job in jobs:
        with pytest.raises(Exception, match="the app is being restarted: try again in a minute"):
            job.result(timeout=20)
    stopping.join(20)
    assert not stopping.is_alive()
    assert len(steps) < 8 * 50, "the run went on to its end"
    assert not server.blocks.is_running
    watcher.join(5)
    assert seen[0].status_code == 503
    assert seen[0].json()["status"] == "stopping"


def test_a_step_that_takes_too_long_is_not_waited_for_and_who_waited_makes_no_step(running_app):
    service, forwards, go_on = GenerationService(running_app.services.checkpoint, 1), [], threading.Event()

    def hold(*_) -> None:
        forwards.append(1)
        assert go_on.wait(20)

    hook = service.checkpoint.pipeline.denoiser.register_forward_pre_hook(hold)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(service.generate, GenerationRequest(MetadataRecord(), (i,), 2)) for i in range(2)]
        deadline = time.monotonic() + 5
        while not (forwards and service._batcher._num_callers == 2) and time.monotonic() < deadline:
            time.sleep(0.01)
        start = time.monotonic()
        service.stop(0.05)
        assert time.monotonic() - start < 2
        go_on.set()
        for run in runs:
            with pytest.raises(StoppingError, match="try again"):
                run.result(20)
    hook.remove()
    assert len(forwards) == 1, "a step was made after the stop"


def test_a_second_ctrl_c_ends_the_app_at_once(monkeypatch):
    before, seen = {name: signal.getsignal(name) for name in SIGNALS}, []
    server = object.__new__(Server)
    server.blocks = SimpleNamespace(launch=lambda **_: None)
    monkeypatch.setattr(server, "launch_options", dict)
    monkeypatch.setattr(server, "stop", lambda: seen.extend(map(signal.getsignal, SIGNALS)))
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        server.serve("127.0.0.1", 0)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert seen == [signal.SIG_DFL] * 2, "while it stops, the next signal is not caught"


@pytest.mark.slow
def test_sigterm_ends_the_app_with_exit_code_0(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    save_checkpoint(build_tiny_pipeline(build_toy_vocabulary()), tmp_path / "tiny", {})
    environment = {
        "MEDI_DATA_DIR": str(tmp_path / "data"),
        "MEDI_CHECKPOINT": str(tmp_path / "tiny"),
        "MEDI_DEVICE": "cpu",
    }
    app = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        env=os.environ | environment | {"MEDI_LOG_LEVEL": "info"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and app.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        app.send_signal(signal.SIGTERM)
        _, errors = app.communicate(timeout=30)
    finally:
        app.kill()
    assert app.returncode == 0, errors
    assert "Traceback" not in errors
