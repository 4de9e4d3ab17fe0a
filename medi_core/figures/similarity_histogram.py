"""How similar tiles are to their nearest training windows: synthetic ones beside held-out real ones."""

import numpy as np
import plotly.graph_objects as go

from medi_core.figures.labels import ink
from medi_core.figures.page import page_layout
from medi_core.figures.palette import COLOURS

BINS = {"start": -0.2, "end": 1.0, "size": 0.02}


def similarity_histogram(synthetic: np.ndarray, baseline: np.ndarray, threshold: float, dark: bool) -> go.Figure:
    """Two histograms, each as shares of its own tiles, and the line from which on a tile is flagged.

    Args:
        synthetic, baseline: similarities `(N,)`, `(M,)`, at most 1, finite.
        threshold: similarity.
        dark: whether the page is dark; the background is transparent.
    """
    series = ((f"held-out real ({len(baseline):,})", baseline), (f"synthetic ({len(synthetic):,})", synthetic))
    traces = [
        go.Histogram(
            x=values.tolist(),
            xbins=BINS,
            histnorm="probability",
            name=name,
            opacity=0.65,
            marker={"color": COLOURS[place]},
            hovertemplate="similarity %{x}<br>share %{y:.3f}<extra></extra>",
        )
        for place, (name, values) in enumerate(series)
    ]
    figure = go.Figure(
        traces,
        page_layout(dark)
        | {
            "barmode": "overlay",
            "height": 300,
            "margin": {"l": 8, "r": 12, "t": 8, "b": 44},
            "xaxis": {"title": {"text": "Similarity to the nearest training window"}, "automargin": True},
            "yaxis": {"title": {"text": "Share of tiles"}, "automargin": True},
            "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        },
    )
    figure.add_vline(threshold, line={"color": ink(dark), "dash": "dash"}, annotation_text=" flagged from here")
    return figure
