"""What the tabs share: services, and the state that one tab hands to another."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from medi_core.bootstrap import Services
from medi_core.services.attached_tiles import AttachedTiles

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
    attached: gr.State
    """`SessionTiles` that the visitor uploaded, or `None`."""
    generate_record: gr.State
    """(attribute → value, when it was handed over): what the Generate tab is asked for from elsewhere."""
    plan_cell: gr.State
    """The same for the cell that the Augment tab is to fill."""


@dataclass(frozen=True)
class SessionTiles:
    """Real tiles of one visitor, and the folder that goes with the session."""

    folder: Path
    tiles: AttachedTiles

    def delete(self) -> None:
        """Delete the images; the session is over, or has others."""
        shutil.rmtree(self.folder, ignore_errors=True)
