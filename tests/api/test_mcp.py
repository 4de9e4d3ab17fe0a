"""The endpoints as MCP tools: those and no others, typed and described, for a client that knows nothing else.

Run: pytest tests/api/test_mcp.py; needs requirements-mcp.txt.
"""

import asyncio
import base64
import io
import json
import urllib.request

import pytest
from PIL import Image

from medi_core.data.tile_files import read_provenance
from tests.toys import synthetic_tissue

mcp = pytest.importorskip("mcp")
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

TOOLS = {
    *("info", "generate", "generate_tile", "generate_instant", "compare", "rerender", "classify", "generate_dataset"),
    *("trust", "evaluate", "plan", "check_data"),
}
ASKED = {"cancer_type": "Colorectal_benign", "center": "Indivumed", "eosin": "5"}


@pytest.fixture
def session(explorer):
    """Runs `method(session, …)` of an MCP session with the app."""

    def run(method, *arguments):
        async def talk():
            async with (
                streamable_http_client(f"{explorer.url}gradio_api/mcp/") as (read, write, _),
                mcp.ClientSession(read, write) as session,
            ):
                await session.initialize()
                return await getattr(session, method)(*arguments)

        return asyncio.run(talk())

    return run


@pytest.fixture
def call(session):
    """The content of a tool's answer."""

    def run(name: str, **arguments):
        answer = session("call_tool", name, arguments)
        assert not answer.isError, answer.content
        return answer.content

    return run


@pytest.fixture
def refusal(session):
    """What a tool says that refuses."""

    def run(name: str, **arguments) -> str:
        answer = session("call_tool", name, arguments)
        assert answer.isError
        return answer.content[0].text

    return run


def test_the_tools_are_the_named_endpoints_and_nothing_else(session, explorer):
    assert {tool.name for tool in session("list_tools").tools} == TOOLS
    with urllib.request.urlopen(f"{explorer.url}gradio_api/mcp/schema", timeout=60) as answer:
        schema = json.load(answer)
    assert {tool["name"] for tool in schema} == TOOLS
    text = json.dumps(schema).lower()
    assert not any(word in text for word in ("review", "passphrase", "study", "reader")), "the review is no tool"


def test_the_routes_of_mcp_are_behind_the_same_layers_as_the_page(explorer):
    with urllib.request.urlopen(f"{explorer.url}gradio_api/mcp/schema", timeout=60) as answer:
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


def test_the_session_of_mcp_is_known_to_the_queue(call, explorer):
    call("info")
    queue = explorer.blocks._queue
    assert queue._is_mcp(explorer.blocks.mcp_server_obj._client_instance.session_hash)
    assert not queue._is_mcp("a visitor's")
    assert not queue._is_mcp(None)


def test_every_argument_has_a_type_and_a_description(session):
    for tool in session("list_tools").tools:
        assert tool.description, tool.name
        for name, argument in tool.inputSchema["properties"].items():
            assert argument.get("description"), f"{tool.name}: {name} is not described"
            assert {"type", "enum", "anyOf", "oneOf"} & set(argument), f"{tool.name}: {name} has no type"


def test_attributes_of_the_checkpoint_are_named_in_the_schema(session, explorer):
    (tool,) = [tool for tool in session("list_tools").tools if tool.name == "generate"]
    attributes = tool.inputSchema["properties"]["metadata"]["properties"]
    assert tuple(attributes) == explorer.services.checkpoint.vocabulary.attributes
    assert tool.inputSchema["required"] == ["metadata"]


def test_a_client_gets_a_tile_to_look_at_and_a_link_to_it_with_its_provenance(call, explorer):
    image, link = call("generate_tile", metadata=ASKED, seed=7, steps=2)
    assert (image.type, image.mimeType) == ("image", "image/png")
    with urllib.request.urlopen(link.text.removeprefix("Image URL: "), timeout=60) as answer:
        png = answer.read()
    provenance = read_provenance(png)
    assert (provenance["metadata"], provenance["seed"]) == (ASKED, 7)
    assert provenance["checkpoint"] == explorer.services.checkpoint.id
    with Image.open(io.BytesIO(base64.b64decode(image.data))) as shown, Image.open(io.BytesIO(png)) as linked:
        assert shown.size == (128, 128)
        assert shown.convert("RGB").tobytes() == linked.convert("RGB").tobytes()


def test_a_link_of_the_app_is_taken_for_the_file_behind_it(call):
    link = call("generate_tile", metadata=ASKED, seed=7, steps=2)[1].text.removeprefix("Image URL: ")
    verdict = call("classify", image=link)[0].text
    assert next(iter(json.loads(verdict)["probabilities"])) == "Colorectal_adenocarcinoma"


def test_a_file_as_a_data_uri_is_read(call):
    buffer = io.BytesIO()
    Image.fromarray(synthetic_tissue(150, 1)).save(buffer, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    told = json.loads(call("rerender", image=uri, metadata={"center": "Indivumed"}, steps=2)[0].text)
    assert told["rerendered_from"]
    assert told["file"]["url"].startswith("http"), "a client on another machine can get it"
    table = "cancer_type,center,patient_id\n" + "Colorectal_benign,Indivumed,P1\n" * 3
    uri = "data:text/csv;base64," + base64.b64encode(table.encode()).decode()
    (cell,) = json.loads(call("plan", table=uri, target="uniform", level=5)[0].text)["cells"]
    assert (cell["real_tiles"], cell["real_patients"], cell["planned_tiles"]) == (3, 1, 2)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("generate_tile", {"metadata": {"center": "Indivumd"}}, "did you mean 'Indivumed'"),
        ("compare", {"metadata": {}, "vary": {"smell": ["a"]}}, "attribute 'smell' is unknown"),
        ("trust", {"metadata": {"center": "Indivumed"}}, "Name both"),
        ("classify", {"image": "http://169.254.169.254/latest/meta-data"}, "image is no uploaded file"),
        ("classify", {"image": "http://example.org/gradio_api/file=/etc/passwd"}, "image is no uploaded file"),
        ("plan", {"table": "/etc/passwd"}, "table is no uploaded file"),
        ("plan", {"table": "data:text/csv;base64,abc"}, "table is no file: send it with"),
        ("plan", {"target": "most"}, "'most' is not one of"),
    ],
)
def test_bad_input_is_one_message(refusal, tool, arguments, message):
    told = refusal(tool, **arguments)
    assert message in told
    assert "Traceback" not in told
