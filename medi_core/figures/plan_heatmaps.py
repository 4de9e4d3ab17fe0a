"""Numbers of tiles in the crossing of two attributes, before and after a plan. Knows how to draw, not how to plan."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medi_core.errors import InvalidRequestError
from medi_core.figures.labels import readable, tick, title_of
from medi_core.figures.page import page_layout
from medi_core.figures.palette import numeric_scale

MAX_READABLE = 24
"""Columns up to which a number in a cell can be read."""
REQUIRED = ("real_tiles", "planned_tiles")
TICKS = (1, 10, 100, 1_000, 10_000, 100_000)
TITLES = ("Real tiles", "With the planned tiles")
ROW_PX, HEAD_PX = 18, 260


def plan_heatmaps(table: pd.DataFrame, rows: str, columns: str, dark: bool) -> go.Figure:
    """Two heat maps one above the other, with one scale of colours, logarithmic: cells differ by orders of magnitude.

    Args:
        table: a row a cell, with `rows`, `columns` (text) and `REQUIRED`; cells of further attributes are summed.
        dark: whether the page is dark; the background is transparent.

    Raises:
        InvalidRequestError: a missing column.
    """
    if missing := [name for name in (rows, columns, *REQUIRED) if name not in table]:
        raise InvalidRequestError(f"the table lacks {', '.join(missing)}; given: {', '.join(map(str, table.columns))}")
    sums = table.groupby([rows, columns])[list(REQUIRED)].sum()
    before = sums["real_tiles"].unstack()
    after = (sums["real_tiles"] + sums["planned_tiles"]).unstack()
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.06,
        subplot_titles=TITLES,
    )
    for place, counts in enumerate((before, after), start=1):
        figure.add_trace(_trace(counts), row=place, col=1)
    most = max(float(np.nanmax(after.to_numpy(dtype=float), initial=1)), 1.0)
    ticks = [tick for tick in TICKS if tick <= 10 * most]
    axis = {"automargin": True, "fixedrange": True, "zeroline": False, "showgrid": False}
    names = [[tick(name) for name in of_axis] for of_axis in (before.columns, before.index)]
    places = [{"tickvals": list(range(len(own))), "ticktext": own} for own in names]
    figure.update_xaxes(**axis, **places[0], tickangle=-45, tickfont={"size": 10})
    figure.update_xaxes(title_text=title_of(columns), row=2, col=1)
    figure.update_yaxes(**axis, **places[1], autorange="reversed")  # its values say what they are
    figure.update_layout(
        **page_layout(dark) | {"margin": {"l": 8, "r": 8, "t": 30, "b": 8}},
        height=HEAD_PX + 2 * ROW_PX * len(before),
        showlegend=False,
        coloraxis={
            "colorscale": list(numeric_scale(dark)),
            "cmin": 0,
            "cmax": np.log10(1 + most),
            "colorbar": {
                **{"title": {"text": "tiles"}, "thickness": 12},
                **{"tickvals": [np.log10(1 + t) for t in ticks], "ticktext": [f"{t:,}" for t in ticks]},
            },
        },
    )
    return figure


def _trace(counts: pd.DataFrame) -> go.Heatmap:
    numbers = counts.to_numpy(dtype=float)
    is_readable = counts.shape[1] <= MAX_READABLE
    text = [["" if np.isnan(n) else f"{int(n)}" for n in row] for row in numbers]
    hover = [
        [
            f"<b>{readable(row)}</b><br>{readable(column)}<br>{n or 'no'} tiles"
            for column, n in zip(counts, own, strict=True)
        ]
        for row, own in zip(counts.index, text, strict=True)
    ]
    return go.Heatmap(
        z=np.log10(1 + numbers),
        x=list(range(counts.shape[1])),  # not the texts: two that are cut alike would be one place
        y=list(range(counts.shape[0])),
        text=text if is_readable else None,
        texttemplate="%{text}" if is_readable else None,
        textfont={"size": 10},
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        coloraxis="coloraxis",
    )
