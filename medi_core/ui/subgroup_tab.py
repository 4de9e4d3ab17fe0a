"""Subgroup accuracy: a table of contents of its views, one line a view."""

import gradio as gr

from medi_core.ui.audit_view import build_audit_view
from medi_core.ui.experiment_view import build_experiment_view
from medi_core.ui.shared import Shared

VIEWS = {
    "audit": ("Audit of a model", build_audit_view),
    "experiment": ("Experiment", build_experiment_view),
}


def build_subgroup_tab(shared: Shared) -> None:
    """Each view in a tab of its own."""
    with gr.Tabs():
        for name, (label, build_view) in VIEWS.items():
            with gr.Tab(label, id=name):
                build_view(shared)
