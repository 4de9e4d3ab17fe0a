"""Accuracy by arm → a figure: all centers and the worst one with intervals, then each center. Knows no experiment.

The browser saves it as PNG or SVG by plotly's own button; nothing is rendered here.
"""

from html import escape

import pandas as pd
import plotly.graph_objects as go

from medi_core.errors import InvalidRequestError
from medi_core.figures.error_bars import error_bars
from medi_core.figures.labels import ink, interval_text, readable
from medi_core.figures.page import page_layout
from medi_core.figures.palette import COLOURS

REQUIRED = ("arm", "subgroup", "measure", "value", "ci_low", "ci_high", "n", "n_patients")
NO_CENTER = ("all centers", "worst center")
LEFT_OUT = ("gap between centers",)
"""A difference, not an accuracy: it would not fit the axis."""
MAX_CENTERS = 12
"""Shown, those with most patients; the table has all."""
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star")
PX_A_ROW, PX_AROUND = 58, 150


def experiment_figure(accuracy: pd.DataFrame, dark: bool) -> go.Figure:
    """Dots with intervals: a row a subgroup, a colour and a shape an arm.

    Args:
        accuracy: columns `REQUIRED`, a row a (arm, subgroup); NaN is not drawn.
        dark: whether the page is dark; the background is transparent.

    Returns:
        One trace an arm, with the row's numbers on hover.

    Raises:
        InvalidRequestError: a missing column.
    """
    if missing := [name for name in REQUIRED if name not in accuracy]:
        raise InvalidRequestError(
            f"the table lacks {', '.join(missing)}; given: {', '.join(map(str, accuracy.columns))}"
        )
    subgroups = _order(accuracy)
    arms = list(dict.fromkeys(accuracy["arm"]))
    traces = [
        _trace(accuracy[accuracy["arm"] == arm], arm, place, len(arms), subgroups, dark)
        for place, arm in enumerate(arms)
    ]
    return go.Figure(traces, _layout(accuracy, subgroups, dark))


def _order(accuracy: pd.DataFrame) -> list[str]:
    """Rows from top to bottom."""
    rows = accuracy.drop_duplicates("subgroup")
    centers = rows[~rows["subgroup"].isin((*NO_CENTER, *LEFT_OUT))]
    centers = centers.sort_values(["n_patients", "subgroup"], ascending=[False, True], kind="stable")
    return [name for name in NO_CENTER if name in set(rows["subgroup"])] + centers["subgroup"].tolist()[:MAX_CENTERS]


def _trace(of_arm: pd.DataFrame, arm: str, place: int, num_arms: int, subgroups: list[str], dark: bool) -> go.Scatter:
    rows = of_arm[of_arm["subgroup"].isin(subgroups)].dropna(subset="value")
    offset = 0.7 * ((place + 0.5) / num_arms - 0.5)  # so that intervals of the arms do not lie on each other
    heights = [subgroups.index(name) + offset for name in rows["subgroup"]]
    colour = COLOURS[place % len(COLOURS)]
    return go.Scatter(
        **{"x": rows["value"].tolist(), "y": heights, "mode": "markers", "name": escape(arm, quote=False)},
        error_x=error_bars(rows["value"], rows["ci_low"], rows["ci_high"])
        | {"color": colour, "thickness": 1.5, "width": 3},
        marker={
            **{"color": colour, "size": 9, "symbol": SYMBOLS[place % len(SYMBOLS)]},
            "line": {"width": 1, "color": ink(dark)},
        },
        text=[_hover(row) for row in rows.to_dict("records")],
        hovertemplate=f"%{{text}}<extra>{escape(arm, quote=False)}</extra>",
    )


def _hover(row: dict) -> str:
    numbers = interval_text(row["value"], row["ci_low"], row["ci_high"])
    counts = f"n = {row['n']:,} tiles of {row['n_patients']:,} patients"
    return f"{readable(row['subgroup'])}<br>{readable(row['measure'])} {numbers}<br>{counts}"


def _layout(accuracy: pd.DataFrame, subgroups: list[str], dark: bool) -> dict[str, object]:
    rows = accuracy.drop_duplicates("subgroup").set_index("subgroup")
    labels = [
        f"{escape(name, quote=False)}<br><sub>{readable(rows.loc[name, 'measure'])}, "
        f"{rows.loc[name, 'n_patients']:,} patients</sub>"
        for name in subgroups
    ]
    grid = {"gridcolor": "#374151" if dark else "#e5e7eb", "zeroline": False}
    return page_layout(dark) | {
        "height": PX_AROUND + PX_A_ROW * len(subgroups),
        "margin": {"l": 0, "r": 16, "t": 48, "b": 40},
        "xaxis": {**grid, "title": {"text": "accuracy, with 95 % interval"}, "range": [-0.02, 1.02]},
        "yaxis": {
            **grid,
            **{"tickvals": list(range(len(subgroups))), "ticktext": labels, "automargin": True},
            "range": [len(subgroups) - 0.5, -0.5],
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        "uirevision": "experiment",
    }
