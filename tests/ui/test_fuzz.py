"""Whatever is sent to an endpoint gets an answer or one clear sentence: no 500, no traceback, no hang.

The fast suite sends some thousand cases, the slow one 10,000: pytest -m slow tests/ui/test_fuzz.py
"""

import asyncio
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medi_core.services.generation import GenerationProgress, GenerationService
from medi_core.ui.guarded_blocks import BUG
from medi_core.ui.server import Server
from tests.toy_app import in_process, toy_services
from tests.toys import synthetic_tissue

BATCH = 10
"""Cases of one example: Hypothesis' own work an example is shared by them."""
HANG_SECONDS = 20
JSON = {"Content-Type": "application/json"}
HUGE = "x" * 100_000
DEEP = json.loads("[" * 200 + "]" * 200)
TEXTS = (
    "",
    " ",
    "NaN",
    "0",
    "null",
    "Lyon",
    "'; DROP TABLE studies;--",
    "<img src=x onerror=alert(1)>",
    "\0",
    "\ud800",
)
TEXTS += ("ﷺ", "🧬" * 50, "../../etc/passwd", "%s%n{0}{x}", HUGE)
NUMBERS = (0, -1, 1, 2, 64, 65, 128, 512, 2**31, 2**53, 2**64, 10**400, -(10**30), 1e308, 5e-324, 0.5)
NUMBERS += (math.nan, math.inf, -math.inf)
ODD = st.sampled_from((*TEXTS, *NUMBERS, None, True, False, [], {}, DEEP, [[]], {"": None}))
ODD_KINDS = (None, True, 0, -1, 0.5, math.nan, "", "x", [], [[]], [{}], [None], {}, {"": None}, {"a": {"b": 1}})
PREDICTIONS = "tile,true,predicted,center,patient_id\n" + "".join(
    f"t{i},{'ab'[i % 2]},{'ab'[i % 3 % 2]},c{i % 2},p{i % 7}\n" for i in range(60)
)
LEAVES = st.one_of(ODD, st.integers(), st.floats(), st.text(max_size=20))
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KNOWN = st.dictionaries(
    st.sampled_from(("cancer_type", "center", "eosin", "age", "colour")),
    st.sampled_from(("Lyon", "Paris", "Lung_adenocarcinoma", "5", "1", 1, None)),
    max_size=3,
)
LIKELY = {
    "metadata": KNOWN,
    "num": st.integers(-1, 70),
    "seed": st.integers(-1, 2**54),
    "steps": st.integers(-1, 210),
    "guidance": st.floats(-1, 11),
    "side_px": st.sampled_from((32, 96, 128, 512, 100, 544)),
    "window_px": st.sampled_from((None, 64, 128, 100)),
    "guidance_interval": st.lists(st.floats(-0.5, 1.5), max_size=3),
    "strength": st.floats(-0.5, 1.5),
}
"""By name of a parameter: near enough to what is allowed that checks behind the first are reached."""
MALFORMED = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"data": 3}',
    b'{"data": null}',
    b"\xff\xfe",
    b'{"data": [' + b"[" * 5000,
    b"NaN",
)


class App:
    """The toy app in this process, whose model draws grey tiles at once."""

    def __init__(self, server: Server) -> None:
        self.loop, self.seen = asyncio.new_event_loop(), Counter()
        self._entered = in_process(server)
        self.http: httpx.AsyncClient = self.run(self._entered.__aenter__())
        self.parameters = {
            name.strip("/"): [parameter["parameter_name"] for parameter in endpoint["parameters"]]
            for name, endpoint in server.blocks.get_api_info()["named_endpoints"].items()
        }
        self.functions = sorted(server.blocks.fns)
        self.uploads = [self.run(self._upload(content)) for content in wrong_files()]

    def run(self, work):
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._entered.__aexit__(None, None, None))
        self.loop.close()

    async def _upload(self, content: bytes, name: str = "tile.png") -> str:
        answer = await self.http.post("/gradio_api/upload", files={"files": (name, content)})
        return answer.json()[0]

    async def send(self, case: tuple[str, str, object]) -> None:
        """One case: its way, its endpoint, what is sent."""
        way, name, given = case
        try:
            await asyncio.wait_for(getattr(self, f"_by_{way}")(name, given), HANG_SECONDS)
        except TimeoutError:
            raise AssertionError(f"no answer within {HANG_SECONDS} s") from None

    async def _by_call(self, name: str, values: list) -> None:
        await self._call(f"/gradio_api/call/{name}", name, {"data": values})

    async def _by_names(self, name: str, values: dict) -> None:
        await self._call(f"/gradio_api/call/v2/{name}", name, values)

    async def _by_raw(self, name: str, body: bytes) -> None:
        self._refused(
            await self.http.post(f"/gradio_api/call/{quote(name, safe='')}", content=body, headers=JSON), also=(200,)
        )

    async def _by_route(self, route: str, given: object) -> None:
        self._refused(
            await self.http.post(f"/gradio_api/{route}", content=json.dumps(given), headers=JSON), also=(200,)
        )

    async def _by_file(self, name: str, path: str) -> None:
        self._refused(await self.http.get(f"/gradio_api/file={quote(path.encode('utf-8', 'replace'))}"))

    async def _call(self, path: str, name: str, body: dict) -> None:
        answer = await self.http.post(path, content=json.dumps(body), headers=JSON)
        if answer.status_code != 200:
            self._refused(answer)
            return
        end = (await self.http.get(f"/gradio_api/call/{name}/{answer.json()['event_id']}")).text
        kind, data = [part.split(": ", 1)[1] for part in end.strip().split("\n\n")[-1].split("\n")]
        assert kind in ("complete", "error"), end
        if kind == "error":
            message = json.loads(data)["error"]
            assert message not in (None, "", BUG), f"{message!r} is no clear sentence"
            assert "Traceback" not in message
            assert len(message) < 1100, "nobody reads that"
        self.seen[kind] += 1

    def _refused(self, answer: httpx.Response, also: tuple[int, ...] = ()) -> None:
        assert 400 <= answer.status_code < 500 or answer.status_code in also, (answer.status_code, answer.text[:500])
        assert "Traceback" not in answer.text
        assert 'File "' not in answer.text
        self.seen[answer.status_code] += 1


def wrong_files() -> Iterator[bytes]:
    """A good tile, and what calls itself one."""
    for kind in ("PNG", "JPEG", "TIFF", "GIF"):
        buffer = io.BytesIO()
        Image.fromarray(synthetic_tissue(64, 1)).save(buffer, kind)
        yield buffer.getvalue()
        yield buffer.getvalue()[:-200]
    yield from (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg onload=alert(1)>", b"PK\3\4" * 20, b"\0" * 1000)
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")  # a few kB that announce 400 million pixels
    yield buffer.getvalue()


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Iterator[App]:
    services = toy_services(tmp_path_factory.mktemp("fuzz"))
    service: GenerationService = services.generation

    def drawn_at_once(request):
        image = np.full((*request.size_px, 3), 128, np.uint8)
        yield GenerationProgress(1, 1, (), tuple(service._describe(request, seed, image) for seed in request.seeds[:2]))

    service._on_device = drawn_at_once
    app = App(Server(services))
    yield app
    app.close()


def cases(app: App) -> st.SearchStrategy[tuple[str, str, object]]:
    """Any case of any way in."""
    paths = st.sampled_from(
        (*app.uploads, "/etc/passwd", "", "https://example.org/a.png", "//host/share/a.png", *TEXTS[:-1])
    )
    files = paths.map(lambda path: {"path": path, "meta": {"_type": "gradio.FileData"}})

    def value(parameter: str) -> st.SearchStrategy:
        return st.one_of(LIKELY.get(parameter, files), LIKELY.get(parameter, files), ANYTHING)

    calls = [
        st.tuples(st.just("call"), st.just(name), st.tuples(*map(value, names)).map(list))
        for name, names in app.parameters.items()
    ]
    by_names = [
        st.tuples(st.just("names"), st.just(name), st.fixed_dictionaries({}, optional={n: value(n) for n in names}))
        for name, names in app.parameters.items()
    ]
    short = st.tuples(st.just("call"), st.sampled_from(sorted(app.parameters)), st.lists(ANYTHING, max_size=9))
    raw = st.tuples(st.just("raw"), st.sampled_from((*app.parameters, "nothing", "ï/../x")), st.sampled_from(MALFORMED))
    event = st.fixed_dictionaries(
        {"data": st.lists(ANYTHING, max_size=2) | ANYTHING, "session_hash": ODD},
        optional={
            "fn_index": st.one_of(st.integers(-3, 10**6), ODD),
            "component_id": st.integers(0, 2000) | ODD,
            "fn_name": st.sampled_from(("review_step", "review_join", "__init__", "postprocess")) | ODD,
            "event_data": ANYTHING,
            "trigger_id": ODD,
        },
    )
    routes = st.tuples(
        st.just("route"), st.sampled_from(("queue/join", "component_server", "cancel", "call/v2/info")), event
    )
    served = st.tuples(st.just("file"), st.just("file"), st.sampled_from(TEXTS[:-1]) | st.text(max_size=30))
    rest = (short, raw, routes, served)
    return st.one_of(*calls, *calls, *by_names, *rest, *rest, *rest)


def bombard(app: App, num: int) -> Counter:
    """Send so many cases; what was answered how often."""
    app.seen.clear()

    @settings(
        max_examples=num // BATCH,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(cases(app), min_size=BATCH, max_size=BATCH))
    def send(batch) -> None:
        async def all_at_once():
            await asyncio.gather(*map(app.send, batch))

        app.run(all_at_once())

    send()
    return app.seen


def test_no_input_brings_an_endpoint_down(app, capfd):
    seen = bombard(app, 1000)
    assert seen.total() >= 1000
    assert {"complete", "error", 400, 403, 422} <= seen.keys(), "every kind of answer was met"
    assert "Traceback" not in capfd.readouterr().err


def test_no_parameter_alone_brings_an_endpoint_down(app, capfd):
    """One odd value at a time, all else in order: an odd value behind another would never be reached."""
    table = {
        "path": app.run(app._upload(PREDICTIONS.encode(), "predictions.csv")),
        "meta": {"_type": "gradio.FileData"},
    }
    tile = {"path": app.uploads[0], "meta": {"_type": "gradio.FileData"}}
    needed = {"predictions": table, "table": table, "tile": tile}
    app.seen.clear()
    for endpoint, names in app.parameters.items():
        for name in names:
            for odd in (*ODD_KINDS, tile):
                values = {n: needed[n] for n in names if n in needed} | {name: odd}
                app.run(app.send(("names", endpoint, values)))
    assert app.seen["error"] > 100
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_ten_thousand_inputs_bring_no_endpoint_down(app, capfd):
    assert bombard(app, 10_000).total() >= 10_000
    assert "Traceback" not in capfd.readouterr().err
