"""Fidelity: how far to trust what the model makes, subgroup by subgroup. A table of contents of three views."""

import gradio as gr

from medi_core.ui.copy_view import build_copy_view
from medi_core.ui.distance_view import build_distance_view
from medi_core.ui.request_view import build_request_view
from medi_core.ui.shared import Shared

VIEWS = (
    ("Distance from real tiles", build_distance_view),
    ("Asked versus got", build_request_view),
    ("Copies", build_copy_view),
)


def build_fidelity_tab(shared: Shared) -> None:
    """One sub-tab a view; each reads the reference set when it comes into sight."""
    with gr.Tabs():
        for label, build_view in VIEWS:
            with gr.Tab(label):
                build_view(shared)
