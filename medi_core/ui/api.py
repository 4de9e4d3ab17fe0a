"""The named endpoints, for programs over HTTP and, where `mcp` is installed, as MCP tools: a table of contents."""

from importlib.util import find_spec

from medi_core.ui.api_tables import build_table_endpoints
from medi_core.ui.api_tiles import build_tile_endpoints
from medi_core.ui.shared import Shared

MCP_OFF = "MCP tools are off: to have them, pip install -r requirements-mcp.txt"


def build_api(shared: Shared) -> None:
    """Every public endpoint; all other events of the app are private, and so no part of the schema."""
    build_tile_endpoints(shared)
    build_table_endpoints(shared)


def has_mcp() -> bool:
    """Whether Gradio can serve the endpoints as MCP tools."""
    return find_spec("mcp") is not None
