"""What the tabs share: services, and the state that one tab hands to another."""

from dataclasses import dataclass

import gradio as gr

from medi_core.bootstrap import Services

CACHE_SECONDS = 3600
"""After so long what a visitor left behind is deleted."""
GPU_QUEUE = "gpu"
"""`concurrency_id` of every run of the model."""
RUNS_AT_ONCE = 4
"""They share the model's forwards, row by row. A forward has as many rows on a CPU: more runs would each be slower."""
LOOK_QUEUE = "look"
"""Of a look at one tile: it shares the model with the runs that have it, and does not wait for all that are queued."""
INSTANT_QUEUE = "instant"
"""Of the renders of instant tiles: they do not wait for the runs of the main checkpoint."""
INSTANTS_AT_ONCE = 4
LOOKS_AT_ONCE = 4
"""Each waits in a thread, and all events share forty: the rest is for those that need no model."""


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
    cohort: gr.State
    """`Cohort` that the visitor uploaded in the tab Data, or `None`."""
    own_tiles: gr.State
    """`OwnTiles` of it that are on the map, or `None`."""
    own_predictions: gr.State
    """`PredictionSet` of it for the audit, or `None`."""
    generate_record: gr.State
    """(attribute → value, when it was handed over): what the Generate tab is asked for from elsewhere."""
    plan_cell: gr.State
    """The same for the cell that the Augment tab is to fill."""
