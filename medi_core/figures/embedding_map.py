"""Points of a projection → the map. Knows how to draw it, not how it was made.

The value is the colour, the origin is the shape. The axes are hidden: a UMAP's mean nothing.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from medi_core.errors import InvalidRequestError
from medi_core.figures.labels import ink, readable, title_of
from medi_core.figures.page import page_layout
from medi_core.figures.palette import NOT_RECORDED, NOT_RECORDED_COLOUR, POOLED_COLOUR, colours_for, numeric_scale
from medi_core.metadata.schema import ATTRIBUTE

SYMBOLS = {
    "real": ("circle", 5, 0.75, 0),
    "synthetic": ("diamond", 6, 0.75, 0.5),
    "own": ("square", 8, 1.0, 1),
    "new": ("star", 15, 1.0, 1),
}
"""Origin → shape, size in px, opacity, outline in px; drawn in this order, so that the few lie on top."""
MAX_VALUES = 30
REQUIRED = ("x", "y", "id", "origin")


def embedding_map_figure(
    points: pd.DataFrame, colour_by: str, dark: bool, all_values: Sequence[str] | None = None
) -> go.Figure:
    """The map, coloured by one column.

    Args:
        points: a row a tile: `x`, `y`, `id`, `origin` (real, synthetic, own or new), and the column to colour by:
            strings (missing ones are "not recorded"; beyond the 30 most frequent they are pooled) or numbers.
        colour_by: the column.
        dark: whether the page is dark; the background is transparent.
        all_values: all values the column can have, so that colours are the same for every subset; those in
            `points` if not given. Not for numbers.

    Returns:
        A figure in which every row is a point of one trace, with its id as `customdata`; one trace a value and origin,
        the latter as `meta`. A legend on the right names values with their counts, a second one on top the shapes.

    Raises:
        InvalidRequestError: a missing column, an unknown origin, or a value that is not in `all_values`.
    """
    _require_columns(points, colour_by)
    column = points[colour_by]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        is_number = column.notna().to_numpy()
        labels = pd.Series(NOT_RECORDED, points.index[~is_number], dtype=object)
        traces = _traces_of_values(points[~is_number], labels, colours_for([]), dark)
        traces += _traces_of_numbers(points[is_number], colour_by, dark)
    else:
        labels = column.astype(object).where(column.notna() & (column != ""), NOT_RECORDED).astype(str)
        traces = _traces_of_values(points, labels, _colours(labels, all_values, colour_by), dark)
    return go.Figure(traces + _shape_key(points["origin"], dark), _layout(colour_by, dark))


def _traces_of_values(
    points: pd.DataFrame, labels: pd.Series, colours: dict[str, str], dark: bool
) -> list[go.Scattergl]:
    """One trace a value and origin; the first of a value stands for all in the legend, and switches all."""
    shown, pooled = _pool_rare(labels)
    counts = shown.value_counts()
    order = sorted(counts.index, key=lambda value: (value == NOT_RECORDED, value == pooled, value))
    traces, in_legend = [], set()
    for origin in SYMBOLS:
        for value in reversed(order):  # what is not recorded lies below
            chosen = ((shown == value) & (points["origin"] == origin)).to_numpy()
            if not chosen.any():
                continue
            traces.append(
                go.Scattergl(
                    **_points_of(points[chosen], value),
                    marker=_marker(origin, colours.get(value, POOLED_COLOUR), dark),
                    text=[readable(label) for label in labels[chosen]],  # one text for all shows as "-" in WebGL
                    hovertemplate=f"%{{text}}<br>{origin}<extra></extra>",
                    name=f"{readable(value)} ({counts[value]:,})",
                    legendgroup=value,
                    legendrank=order.index(value) + 1,
                    showlegend=value not in in_legend,
                )
            )
            in_legend.add(value)
    return traces


def _traces_of_numbers(points: pd.DataFrame, colour_by: str, dark: bool) -> list[go.Scattergl]:
    """One trace an origin, all on one colour scale."""
    return [
        go.Scattergl(
            **_points_of(of_origin, "numbers"),
            marker=_marker(origin, of_origin[colour_by].to_numpy("float64"), dark) | {"coloraxis": "coloraxis"},
            hovertemplate=f"%{{marker.color:.3g}}<br>{origin}<extra></extra>",
            showlegend=False,
        )
        for origin in SYMBOLS
        if not (of_origin := points[points["origin"] == origin]).empty
    ]


def _shape_key(origins: pd.Series, dark: bool) -> list[go.Scattergl]:
    """The second legend, made of traces without points: the first one's entries are coloured, not shaped."""
    counts = origins.value_counts()
    return [
        go.Scattergl(
            **{"x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip"},
            marker=_marker(origin, NOT_RECORDED_COLOUR, dark),
            name=f"{origin} ({counts[origin]:,})",
            legend="legend2",
        )
        for origin in SYMBOLS
        if origin in counts
    ]


def _points_of(points: pd.DataFrame, value: str) -> dict[str, object]:
    # with a uid, plotly.js knows a trace again when others come or go before it
    origin = points["origin"].iloc[0]
    uid = f"{value}, {origin}"
    x, y = points["x"].to_numpy("float32"), points["y"].to_numpy("float32")
    return {"x": x, "y": y, "customdata": points["id"].tolist(), "mode": "markers", "uid": uid, "meta": origin}


def _marker(origin: str, colour: object, dark: bool) -> dict[str, object]:
    symbol, size, opacity, outline = SYMBOLS[origin]
    line = {"width": outline, "color": ink(dark)}
    return {"symbol": symbol, "size": size, "opacity": opacity, "color": colour, "line": line}


def _layout(colour_by: str, dark: bool) -> dict[str, object]:
    attribute, title = ATTRIBUTE.get(colour_by), title_of(colour_by)
    unit = f"<br>({attribute.unit})" if attribute and attribute.unit else ""
    hidden = {"visible": False, "zeroline": False}
    return {
        **page_layout(dark),
        "margin": {"l": 0, "r": 0, "t": 28, "b": 0},
        "xaxis": hidden,
        "yaxis": {**hidden, "scaleanchor": "x"},  # a distance is the same in both directions
        "hovermode": "closest",
        "dragmode": "zoom",
        "modebar": {"remove": ["zoomIn2d", "zoomOut2d", "autoScale2d"], "bgcolor": "rgba(0,0,0,0)"},
        # one for all: zoom survives a new colouring; what was hidden or selected by its value does not
        "uirevision": "embedding map",
        "selectionrevision": colour_by,
        "legend": {
            **{"title": {"text": title}, "x": 1.01, "y": 1, "itemsizing": "constant", "tracegroupgap": 0},
            "uirevision": colour_by,
        },
        "legend2": {
            **{"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            **{"itemclick": False, "itemdoubleclick": False},
        },
        "coloraxis": {
            "colorscale": list(numeric_scale(dark)),
            "colorbar": {"title": {"text": title + unit}, "x": 1.01, "y": 0, "yanchor": "bottom", "len": 0.75},
        },
    }


def _pool_rare(labels: pd.Series) -> tuple[pd.Series, str]:
    """Labels with the rare ones under one name, and that name (also where none is rare)."""
    counts = labels[labels != NOT_RECORDED].value_counts()
    rare = sorted(counts.index, key=lambda value: (-counts[value], value))[MAX_VALUES:]
    pooled = f"other ({len(rare)} value{'s' if len(rare) != 1 else ''})"
    return labels.where(~labels.isin(rare), pooled), pooled


def _colours(labels: pd.Series, all_values: Sequence[str] | None, colour_by: str) -> dict[str, str]:
    known = set(labels) if all_values is None else {*all_values, NOT_RECORDED}
    if unknown := sorted(set(labels) - known):
        raise InvalidRequestError(
            f"{colour_by} has values that are not in all_values: {', '.join(unknown)}; give all that it can have"
        )
    return colours_for(sorted(known))


def _require_columns(points: pd.DataFrame, colour_by: str) -> None:
    if missing := [name for name in (*REQUIRED, colour_by) if name not in points]:
        raise InvalidRequestError(f"the points lack {', '.join(missing)}; given: {', '.join(map(str, points.columns))}")
    if unknown := sorted(set(points["origin"].astype(str)) - set(SYMBOLS)):
        raise InvalidRequestError(f"origin must be {', '.join(SYMBOLS)}; given also {', '.join(unknown)}")
