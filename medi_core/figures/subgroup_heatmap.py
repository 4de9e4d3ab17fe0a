"""A measure in the crossing of two attributes → a heat map. Knows how to draw it, not how it was measured.

Colour is for what was measured well enough. A cell below the minimum is grey and shows its number of tiles; one
without a tile is empty. The scale is viridis, which is told apart with any colour vision, and the value stands in
the cell.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from medi_core.errors import InvalidRequestError
from medi_core.figures.labels import interval_text, readable, tick, title_of
from medi_core.figures.page import page_layout
from medi_core.figures.palette import numeric_scale

TOO_SMALL_COLOUR = {True: "#4b5563", False: "#d1d5db"}
"""For a dark and a light page."""
MAX_READABLE = 24
"""Up to so many columns the text of a cell has a size that can be read; beyond, it shrinks to fit."""
REQUIRED = ("n", "n_patients", "measure", "value", "ci_low", "ci_high", "interval", "is_ranked")


def subgroup_heatmap(table: pd.DataFrame, rows: str, columns: str, measure: str, minimum: str, dark: bool) -> go.Figure:
    """The heat map.

    Args:
        table: a row a subgroup, with the columns `rows`, `columns` (text) and `REQUIRED`; `is_ranked` says that it
            is large enough to be coloured.
        measure: title of the colour bar.
        minimum: what a grey cell lacks, for the legend: "fewer than 20 tiles or 3 patients".
        dark: whether the page is dark; the background is transparent.

    Returns:
        A figure in which each cell with a tile has `[row value, column value]` as `customdata`.

    Raises:
        InvalidRequestError: a missing column.
    """
    if missing := [name for name in (rows, columns, *REQUIRED) if name not in table]:
        raise InvalidRequestError(f"the table lacks {', '.join(missing)}; given: {', '.join(map(str, table.columns))}")
    names = [sorted(table[name].unique()) for name in (rows, columns)]
    is_measured, is_small = table["is_ranked"], ~table["is_ranked"] & (table["n"] > 0)
    scaled = _cells(table[is_measured], rows, columns, names, lambda row: f"{row['value']:.2f}")
    grey = _cells(table[is_small], rows, columns, names, lambda row: f"{row['n']}")
    flat = [[0, TOO_SMALL_COLOUR[dark]], [1, TOO_SMALL_COLOUR[dark]]]
    traces = [
        go.Heatmap(**scaled, coloraxis="coloraxis"),
        go.Heatmap(**grey | {"z": np.where(np.isnan(grey["z"]), np.nan, 0)}, colorscale=flat, showscale=False),
        _key(minimum, dark),
    ]
    return go.Figure(traces, _layout(names, (rows, columns), measure, dark))


def _cells(
    table: pd.DataFrame, rows: str, columns: str, names: list[list[str]], text_of: Callable[[pd.Series], str]
) -> dict[str, object]:
    """Matrices of one trace; a cell that is not in the table is NaN and has no text."""
    shape = tuple(map(len, names))
    place = [{name: i for i, name in enumerate(of_axis)} for of_axis in names]
    z, text, hover = np.full(shape, np.nan), np.full(shape, "", object), np.full(shape, "", object)
    keys = [[[row, column] for column in names[1]] for row in names[0]]
    for _, row in table.iterrows():
        at = place[0][row[rows]], place[1][row[columns]]
        z[at] = row["value"] if row["is_ranked"] else 0
        text[at], hover[at] = text_of(row), _hover(row, rows, columns)
    return {
        **{"z": z, "text": text.tolist(), "texttemplate": "%{text}", "hovertext": hover.tolist(), "hoverinfo": "text"},
        **{"customdata": keys, "hoverongaps": False, "xgap": 1, "ygap": 1},
        "textfont": {"size": 10} if len(names[1]) <= MAX_READABLE else {},
    }


def _hover(row: pd.Series, rows: str, columns: str) -> str:
    head = f"<b>{readable(row[rows])}</b><br>{readable(row[columns])}"
    value = interval_text(row["value"], row["ci_low"], row["ci_high"])
    counts = f"{row['n']:,} tiles, {row['n_patients']:,} patients"
    return f"{head}<br>{readable(row['measure'])}: {value}<br>{counts}<br>interval: {row['interval']}"


def _key(minimum: str, dark: bool) -> go.Scatter:
    """A legend entry without points: what grey means."""
    marker = {"symbol": "square", "size": 12, "color": TOO_SMALL_COLOUR[dark]}
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker=marker, name=f"{minimum}: number of tiles", hoverinfo="skip"
    )


def _layout(names: list[list[str]], titles: tuple[str, str], measure: str, dark: bool) -> dict[str, object]:
    axes = [
        {
            **{"tickvals": list(range(len(of_axis))), "ticktext": [tick(name) for name in of_axis]},
            **{
                "title": {"text": title_of(title), "standoff": 12},
                "automargin": True,
                "fixedrange": True,
                "zeroline": False,
            },
            "showgrid": False,
        }
        for of_axis, title in zip(names, titles, strict=True)
    ]
    return page_layout(dark) | {
        "margin": {"l": 8, "r": 8, "t": 30, "b": 8},
        "yaxis": axes[0] | {"autorange": "reversed"},
        "xaxis": axes[1] | {"tickangle": -45},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "itemclick": False},
        "showlegend": True,
        "coloraxis": {
            **{"colorscale": list(numeric_scale(dark)), "cmin": 0, "cmax": 1},
            "colorbar": {"title": {"text": measure}, "thickness": 12},
        },
    }
