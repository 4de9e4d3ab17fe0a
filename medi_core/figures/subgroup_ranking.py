"""Subgroups worst first → a dot with its interval for each. Knows how to draw it, not how it was measured."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from medi_core.errors import InvalidRequestError
from medi_core.figures.error_bars import error_bars
from medi_core.figures.labels import ink, interval_text, readable, tick
from medi_core.figures.page import page_layout
from medi_core.figures.palette import COLOURS, POOLED_COLOUR

MAX_ROWS = 30
"""The rest would be too small to read; it is in the table."""
REQUIRED = ("subgroup", "n", "n_patients", "measure", "value", "ci_low", "ci_high", "interval", "is_ranked")


def subgroup_ranking(
    table: pd.DataFrame, keys: list[str], overall: pd.Series, measure: str, minimum: str, dark: bool
) -> go.Figure:
    """Dots with intervals, the first row of the table on top.

    Args:
        table: a row a subgroup, worst first, with `REQUIRED`; what is not measured is left out.
        keys: the columns that a subgroup is made of; their values are the `customdata` of its dot.
        overall: a row of the same kind, of all tiles: a dashed line.
        measure: title of the axis.
        minimum: what a grey dot lacks: "fewer than 20 tiles or 3 patients".
        dark: whether the page is dark; the background is transparent.

    Raises:
        InvalidRequestError: a missing column.
    """
    if missing := [name for name in (*keys, *REQUIRED) if name not in table]:
        raise InvalidRequestError(f"the table lacks {', '.join(missing)}; given: {', '.join(map(str, table.columns))}")
    shown = table[table["value"].notna()].head(MAX_ROWS).reset_index(drop=True)
    traces = [
        _dots(shown[shown["is_ranked"]], keys, COLOURS[0], "large enough to be ranked"),
        _dots(shown[~shown["is_ranked"]], keys, POOLED_COLOUR, minimum),
    ]
    figure = go.Figure([trace for trace in traces if len(trace.x)], _layout(shown, measure, dark))
    if np.isfinite(overall["value"]):
        line = {"line": {"color": ink(dark), "dash": "dash", "width": 1}}
        figure.add_vline(overall["value"], **line, annotation_text="overall", annotation_position="bottom right")
    return figure


def _dots(rows: pd.DataFrame, keys: list[str], colour: str, name: str) -> go.Scatter:
    """One trace; a dot without an interval has no bar."""
    texts = [
        f"<b>{readable(row['subgroup'])}</b><br>{readable(row['measure'])}: "
        f"{interval_text(row['value'], row['ci_low'], row['ci_high'])}<br>{row['n']:,} tiles, "
        f"{row['n_patients']:,} patients<br>interval: {row['interval']}"
        for _, row in rows.iterrows()
    ]
    return go.Scatter(
        **{"x": rows["value"], "y": rows.index, "mode": "markers", "marker": {"color": colour, "size": 9}},
        error_x=error_bars(rows["value"], rows["ci_low"], rows["ci_high"]),
        **{"customdata": rows[keys].to_numpy().tolist(), "hovertext": texts, "hoverinfo": "text", "name": name},
    )


def _layout(shown: pd.DataFrame, measure: str, dark: bool) -> dict[str, object]:
    labels = [f"{tick(row['subgroup'])} ({row['n']:,} / {row['n_patients']:,})" for _, row in shown.iterrows()]
    return page_layout(dark) | {
        "margin": {"l": 8, "r": 8, "t": 30, "b": 40},
        "xaxis": {"title": {"text": measure}, "range": [-0.02, 1.02], "fixedrange": True, "zeroline": False},
        "yaxis": {
            **{"tickvals": list(range(len(labels))), "ticktext": labels, "automargin": True, "fixedrange": True},
            **{
                "autorange": "reversed",
                "zeroline": False,
                "title": {"text": "subgroup (tiles / patients)", "standoff": 12},
            },
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "itemclick": False},
        "hovermode": "closest",
    }
