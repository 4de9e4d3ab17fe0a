"""ZeroGPU lends the GPU for one call where the platform says that it is there, and nowhere else.

The last test runs the platform's own package `spaces` against a stand-in for its scheduler, without any GPU:
pytest -m slow tests/services/test_zero_gpu.py
"""

import inspect
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.zero_gpu import MAX_SECONDS, START_SECONDS, gpu_seconds, on_zero_gpu

ROOT = Path(__file__).resolve().parents[2]
REQUEST = GenerationRequest(MetadataRecord(cancer_type="Lung_adenocarcinoma"), tuple(range(8)))


@pytest.fixture
def spaces(monkeypatch) -> list[dict]:
    """The platform, with a package that only notes what it is given."""
    wrapped: list[dict] = []
    module = ModuleType("spaces")
    module.__spec__ = ModuleSpec("spaces", None)
    module.GPU = lambda function, duration: wrapped.append({"function": function, "duration": duration}) or function
    monkeypatch.setitem(sys.modules, "spaces", module)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    return wrapped


def test_elsewhere_the_work_runs_as_it_is_even_where_the_package_is(spaces, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU")
    assert list(on_zero_gpu(lambda request: iter(range(request)), lambda _: 1)(3)) == [0, 1, 2]
    assert spaces == []


def test_on_the_platform_it_gets_a_generator_function_and_how_long_a_request_takes(spaces):
    run = on_zero_gpu(lambda request: iter(range(request)), lambda request: 10 * request)
    assert inspect.isgeneratorfunction(spaces[0]["function"])
    assert spaces[0]["duration"](2) == 20
    assert list(run(2)) == [0, 1]


def test_seconds_grow_with_the_work_and_end_at_what_nobody_has():
    assert gpu_seconds(0, 0) == START_SECONDS
    assert gpu_seconds(12, 200) < gpu_seconds(24, 200) < gpu_seconds(24, 2000)
    assert gpu_seconds(1e9, 1e9) == MAX_SECONDS


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": tuple(range(1000))},
        {"num_inference_steps": 200},
        {"side_px": (512, 512), "seeds": tuple(range(64))},
        {"attribute_guidance": (("cancer_type", 3.0),), "seeds": tuple(range(1000))},
    ],
)
def test_a_request_for_more_asks_for_the_gpu_for_longer(tiny_services, more):
    seconds = tiny_services.generation._gpu_seconds
    less = replace(REQUEST, **{k: v for k, v in more.items() if k == "seeds" and len(more) > 1})
    assert seconds(less) < seconds(replace(REQUEST, **more)) <= MAX_SECONDS


def test_windows_and_guidance_cost_and_no_guidance_saves(tiny_services):
    seconds = tiny_services.generation._gpu_seconds
    large = replace(REQUEST, side_px=(512, 512), seeds=tuple(range(64)))
    assert seconds(replace(large, guidance_scale=1.0)) < seconds(large) < seconds(replace(large, window_px=128))


def test_what_goes_to_the_process_with_the_gpu_and_back_can_be_sent(tiny_services):
    sent = ForkingPickler.loads(ForkingPickler.dumps(replace(REQUEST, seeds=(7,), num_inference_steps=1)))
    for progress in tiny_services.generation.stream(sent):
        back = ForkingPickler.loads(ForkingPickler.dumps(progress))
        assert (back.done, back.total, len(back.previews)) == (progress.done, progress.total, len(progress.previews))
    assert [tile.id for tile in back.tiles] == [tile.id for tile in progress.tiles]


def test_on_the_platform_a_request_shares_with_nobody_and_gets_the_same_tile(tiny_services, spaces):
    service = GenerationService(tiny_services.checkpoint, 4)
    assert service._batcher is None
    request = replace(REQUEST, num_inference_steps=1, side_px=(32, 32))
    for tile, same in zip(service.generate(request), tiny_services.generation.generate(request), strict=True):
        assert np.array_equal(tile.image, same.image)
    service.stop()


SPACE = """
import json, sys
import spaces
from pathlib import Path
import gradio as gr
from medi_core.bootstrap import build_services
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation_request import GenerationRequest
from medi_core.settings import Settings

folder = Path(sys.argv[1])
services = build_services(Settings("tiny", checkpoints_dir=folder / "checkpoints", data_dir=folder / "data"))
with gr.Blocks() as app:
    pass
app.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
facts = {"device": str(services.checkpoint.pipeline.device), "encoder": services.encoding._device, "runs": []}
for num in (1, 1000):
    request = GenerationRequest(MetadataRecord(cancer_type="Lung_adenocarcinoma"), tuple(range(num)))
    try:
        services.generation.generate(request)
    except gr.Error as error:
        facts["runs"].append([services.generation._gpu_seconds(request), error.title])
print("FACTS " + json.dumps(facts), flush=True)
app.close()
"""


@pytest.fixture
def scheduler() -> Iterator[tuple[str, list[tuple[str, dict]]]]:
    """A stand-in for the platform's scheduler that has no GPU left for anybody: its address, and what it was asked."""
    asked: list[tuple[str, dict]] = []

    class Scheduler(BaseHTTPRequestHandler):
        def do_POST(self):
            address = urlsplit(self.path)
            asked.append((address.path, dict(parse_qsl(address.query))))
            body = json.dumps({"left": 0, "wait": 3600}).encode() if address.path == "/schedule" else b"{}"
            self.send_response(429 if address.path == "/schedule" else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scheduler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


@pytest.mark.slow
def test_the_platforms_package_finds_the_model_on_the_gpu_at_the_start_and_is_asked_for_as_long_as_a_request_takes(
    tiny_checkpoint, tmp_path, scheduler
):
    pytest.importorskip("spaces", reason="the package of ZeroGPU; requirements-dev.txt has it")
    address, asked = scheduler
    (tmp_path / "cgroup").write_text("0::/space\n")
    environment = os.environ | {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": address,
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(tmp_path / "cgroup"),
        "ZEROGPU_OFFLOAD_DIR": str(tmp_path / "tensors"),
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    command = [sys.executable, "-c", SPACE, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert "FACTS " in run.stdout, run.stderr[-3000:]
    facts = json.loads(run.stdout.split("FACTS ")[1].splitlines()[0])
    assert facts["device"] == "cuda:0"
    assert facts["encoder"] == "cpu"
    assert sum(path.stat().st_size for path in (tmp_path / "tensors").rglob("*") if path.is_file()) > 10_000
    assert asked[0][0] == "/startup-report", "the platform stops a Space that has no function for the GPU"
    (few, title), (many, _) = facts["runs"]
    assert "quota" in title.lower()
    assert few < many
    schedules = [query for path, query in asked if path == "/schedule"]
    assert [int(query["durationSeconds"]) for query in schedules] == [few, many]
