"""What the tabs share: services, and the state that one tab hands to another."""

from dataclasses import dataclass

import gradio as gr

from medi_core.bootstrap import Services

GPU_QUEUE = "gpu"
"""`concurrency_id` of every handler that uses the model: one job at a time on one device."""


@dataclass(frozen=True)
class Shared:
    """Given to each tab builder."""

    services: Services
    tabs: gr.Tabs
    """To switch to another tab."""
    base_tile: gr.State
    """(id of the tile to re-render, when it was handed over), set by the Generate tab."""
    compare_tile: gr.State
    """The same for the tile that the Compare tab starts from."""
    map_tiles: gr.State
    """Ids of the tiles made in this session, for the map."""
    generate_record: gr.State
    """(attribute → value, when it was handed over): what the Generate tab is asked for from elsewhere."""
