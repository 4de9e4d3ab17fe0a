"""Values with their intervals, a row a label, side by side for several series. Knows nothing of what they measure."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from medi_core.figures.error_bars import error_bars
from medi_core.figures.labels import ink, readable
from medi_core.figures.page import page_layout
from medi_core.figures.palette import COLOURS

SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "x")
"""A series is told by its shape as well as by its colour."""
ROW_PX, MARGIN_PX = 26, 110


def dot_plot(table: pd.DataFrame, series: Sequence[str], axis_title: str, dark: bool) -> go.Figure:
    """A dot and a bar a value.

    Args:
        table: a row a dot: `label`, `series`, `value`, `low`, `high` (NaN: no bar), `text` (lines shown on hover). Rows
            without a value are left out; labels stand in the order in which they first occur, from the top.
        series: all that there can be, in the order of colours, shapes and legend.
        axis_title: what the values are.
        dark: whether the page is dark; the background is transparent.

    Returns:
        A figure, one trace a series; its height grows with the labels.
    """
    shown = table.dropna(subset=["value"])
    labels = list(dict.fromkeys(shown["label"]))
    traces = [
        _trace(shown[shown["series"] == name], name, place, labels, len(series))
        for place, name in enumerate(series)
        if (shown["series"] == name).any()
    ]
    height = MARGIN_PX + ROW_PX * max(len(labels), 1) * max(1, len(series) // 2)
    rows = {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": [readable(x) for x in labels]}
    layout = page_layout(dark) | {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 44},
        "xaxis": {
            "title": {"text": axis_title},
            "gridcolor": _grid(dark),
            "zerolinecolor": ink(dark),
            "automargin": True,
        },
        "yaxis": {
            **rows,
            "zeroline": False,
            "range": [len(labels) - 0.5, -0.5],
            "automargin": True,
            "gridcolor": _grid(dark),
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        "hovermode": "closest",
    }
    return go.Figure(traces, layout)


def _trace(rows: pd.DataFrame, name: str, place: int, labels: list[str], num: int) -> go.Scatter:
    offset = (place - (num - 1) / 2) * 0.7 / num
    return go.Scatter(
        x=rows["value"].tolist(),
        y=[labels.index(label) + offset for label in rows["label"]],
        error_x=error_bars(rows["value"], rows["low"], rows["high"]) | {"thickness": 1.5, "width": 3},
        mode="markers",
        marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 9, "color": COLOURS[place]},
        name=readable(name),
        text=[readable(text).replace("\n", "<br>") for text in rows["text"]],
        hovertemplate="%{text}<extra></extra>",
    )


def _grid(dark: bool) -> str:
    return "rgba(229, 231, 235, 0.15)" if dark else "rgba(31, 41, 55, 0.12)"
